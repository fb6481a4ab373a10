//! [`boxes`]: how scores are spread over many tracks, by source and method.

use crate::axis::{Axis, Way};
use crate::bars::GroupNames;
use crate::canvas::{Align, Area, Canvas, Picture, fit};
use crate::panel::{Legend, Panel, draw_title, left_of, no_data, title_height, title_of_part};
use crate::style::{
    CURVE, GAP, INK, LABEL, MARGIN, MOST, NUMBER, RIGHT, SMALL, THIN, WIDTH, category, towards_white,
};

/// What [`boxes`] draws.
///
/// # Example
/// ```
/// use demix_figure::{BoxPlot, BoxSeries, boxes};
/// let picture = boxes(&BoxPlot {
///     title: "50 songs",
///     x_title: "",
///     y_title: "SDR (dB)",
///     groups: &["vocals", "drums"],
///     series: &[BoxSeries { name: "NMF", values: &[vec![2.0, 3.0, 5.5], vec![1.0, 4.0, 4.5]] }],
/// });
/// assert!(picture.labels.iter().any(|label| label.text == "vocals"));
/// ```
#[derive(Clone, Copy, Debug)]
pub struct BoxPlot<'a> {
    /// Title above the picture; may be empty.
    pub title: &'a str,
    /// Title below the names of the groups, with their unit where they are numbers; may be empty.
    pub x_title: &'a str,
    /// Title of the vertical axis, with its unit: `SDR (dB)`.
    pub y_title: &'a str,
    /// Names below the groups of boxes, usually the sources.
    pub groups: &'a [&'a str],
    /// One box per group each, usually the methods.
    pub series: &'a [BoxSeries<'a>],
}

/// The boxes of one colour.
#[derive(Clone, Copy, Debug)]
pub struct BoxSeries<'a> {
    /// Name in the legend.
    pub name: &'a str,
    /// The values of each group, in any order; those that are not finite are left out.
    pub values: &'a [Vec<f64>],
}

/// Tukey's five numbers and what lies beyond them.
#[derive(Clone, Debug, PartialEq)]
struct Summary {
    /// Furthest values within 1.5 times the box from its ends.
    whiskers: (f64, f64),
    quartiles: (f64, f64),
    median: f64,
    outliers: Vec<f64>,
}

impl Summary {
    fn new(values: &[f64]) -> Option<Self> {
        let mut sorted: Vec<f64> = values.iter().copied().filter(|x| x.is_finite()).collect();
        sorted.sort_by(f64::total_cmp);
        let (&first, &last) = (sorted.first()?, sorted.last()?);
        let quartiles = (quantile(&sorted, 0.25), quantile(&sorted, 0.75));
        let reach = 1.5 * (quartiles.1 - quartiles.0);
        let inside = |x: &&f64| **x >= quartiles.0 - reach && **x <= quartiles.1 + reach;
        Some(Self {
            whiskers: (
                *sorted.iter().find(inside).unwrap_or(&first),
                *sorted.iter().rfind(inside).unwrap_or(&last),
            ),
            quartiles,
            median: quantile(&sorted, 0.5),
            outliers: sorted.iter().filter(|x| !inside(x)).copied().collect(),
        })
    }
}

/// The value below which a share of sorted values lies, between neighbours along a line.
fn quantile(sorted: &[f64], share: f64) -> f64 {
    let place = share * (sorted.len() - 1) as f64;
    let (below, above) = (sorted[place.floor() as usize], sorted[place.ceil() as usize]);
    below + place.fract() * (above - below)
}

/// Boxes in groups: median, quartiles, whiskers to the furthest values within 1.5 times the box, dots beyond.
pub fn boxes(plot: &BoxPlot<'_>) -> Picture {
    let groups = &plot.groups[..plot.groups.len().min(MOST)];
    let series = &plot.series[..plot.series.len().min(MOST)];
    let summary = |s: &BoxSeries<'_>, group: usize| Summary::new(s.values.get(group)?);
    let finite = || {
        let values = series.iter().flat_map(|s| s.values.iter().take(groups.len()).flatten());
        values.copied().filter(|x| x.is_finite())
    };
    if groups.is_empty() || finite().next().is_none() {
        return no_data(plot.title);
    }
    let title = title_of_part(plot.title, plot.groups.len());
    let low = finite().fold(f64::INFINITY, f64::min);
    let high = finite().fold(f64::NEG_INFINITY, f64::max);
    let height = 560.0;
    // halves, lest the span of absurd values overflows
    let room = 0.1 * (high / 2.0 - low / 2.0).max(low.abs().max(high.abs()) * 1e-3).max(1e-3);
    let y = Axis::numbers(plot.y_title, low - room, high + room, height, Way::Up);
    let left = left_of([&y]);
    let width = WIDTH - left - RIGHT;
    let x = Axis::counts("", 0, groups.len(), width, Way::Across);
    let legend = Legend::new(series.iter().enumerate().map(|(i, s)| (s.name, category(i))), left);
    let top = title_height(&title) + legend.height;
    let panel = Panel { area: Area::new(left, top, width, height), x, y };

    let names = GroupNames::new(groups, width / groups.len() as f32);
    let below = panel.area.bottom() + 2.0 * GAP + names.height();
    let x_title = fit(plot.x_title, LABEL, width, usize::MAX);
    let title_room = if x_title.is_empty() { 0.0 } else { GAP + LABEL };
    let mut canvas = Canvas::new(WIDTH, below + title_room + MARGIN);
    draw_title(&mut canvas, &title, left);
    legend.draw(&mut canvas, title_height(&title));
    panel.draw_lines(&mut canvas);
    let place = (width / groups.len() as f32 / (series.len() as f32 + 0.6)).min(width / 8.0);
    for group in 0..groups.len() {
        let middle = left + width * (group as f32 + 0.5) / groups.len() as f32;
        for (i, one) in series.iter().enumerate() {
            let x = middle + place * (i as f32 + 0.5 - series.len() as f32 / 2.0);
            match summary(one, group) {
                Some(summary) => draw_box(&mut canvas, &panel, &summary, x, 0.7 * place, i),
                None if place > 3.0 * SMALL => {
                    let size = if place > 3.0 * NUMBER { NUMBER } else { SMALL };
                    canvas.text("n/a", x, panel.area.middle().1, size, Align::Centre);
                }
                None => {}
            }
        }
    }
    panel.draw_frame(&mut canvas);
    panel.draw_y(&mut canvas);
    panel.draw_y_title(&mut canvas, panel.area);
    names.draw(&mut canvas, panel.area);
    canvas.text(&x_title, panel.area.middle().0, below + GAP + LABEL / 2.0, LABEL, Align::Centre);
    canvas.finish()
}

fn draw_box(canvas: &mut Canvas, panel: &Panel, summary: &Summary, x: f32, width: f32, colour: usize) {
    let colour = category(colour);
    let (lower, upper) = (panel.up(summary.quartiles.0), panel.up(summary.quartiles.1));
    let (low, high) = (panel.up(summary.whiskers.0), panel.up(summary.whiskers.1));
    let cap = 0.25 * width;
    for (from, to) in [(lower, low), (upper, high)] {
        canvas.curve(&[(x, from), (x, to)], THIN, INK);
        canvas.curve(&[(x - cap, to), (x + cap, to)], THIN, INK);
    }
    let body = Area::new(x - width / 2.0, upper, width, lower - upper);
    canvas.fill(body, towards_white(colour, 0.45));
    canvas.frame(body, THIN, colour);
    let median = panel.up(summary.median);
    canvas.curve(&[(body.left, median), (body.right(), median)], CURVE, INK);
    for outlier in &summary.outliers {
        canvas.curve(&[(x, panel.up(*outlier))], CURVE, colour);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_numbers_as_tukey_has_them() {
        let values = [9.0, 1.0, 3.0, 2.0, 4.0, f64::NAN, 30.0, f64::INFINITY];
        let summary = Summary::new(&values).unwrap();
        // sorted 1 2 3 4 9 30: quartiles at places 1.25 and 3.75
        assert_eq!(summary.quartiles, (2.25, 7.75));
        assert_eq!((summary.median, summary.whiskers), (3.5, (1.0, 9.0)));
        assert_eq!(summary.outliers, [30.0]);
        let one = Summary::new(&[5.0]).unwrap();
        assert_eq!((one.quartiles, one.whiskers, one.median), ((5.0, 5.0), (5.0, 5.0), 5.0));
        assert_eq!(Summary::new(&[f64::NAN]), None);
    }
}
