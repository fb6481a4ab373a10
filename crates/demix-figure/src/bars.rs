//! [`bars`]: scores by source and method.

use crate::axis::{Axis, Way, signed};
use crate::canvas::{Align, Area, Canvas, Picture, fit, text_width};
use crate::panel::{Legend, Panel, draw_title, left_of, no_data, title_height, title_of_part};
use crate::style::{
    GAP, INK, LABEL, MARGIN, MOST, NAME_LENGTH, NUMBER, RIGHT, SMALL, THIN, WIDTH, category, towards_white,
};

/// What [`bars`] draws.
///
/// # Example
/// ```
/// use demix_figure::{BarPlot, BarSeries, bars};
/// let picture = bars(&BarPlot {
///     title: "Separation of two voices",
///     y_title: "SDR (dB)",
///     groups: &["alto", "bass"],
///     series: &[BarSeries { name: "ILRMA", values: &[9.1, 7.4], errors: Some(&[0.8, 1.1]) }],
/// });
/// assert!(picture.labels.iter().any(|label| label.text == "9.1"));
/// ```
#[derive(Clone, Copy, Debug)]
pub struct BarPlot<'a> {
    /// Title above the picture; may be empty.
    pub title: &'a str,
    /// Title of the vertical axis, with its unit: `SDR (dB)`.
    pub y_title: &'a str,
    /// Names below the groups of bars, usually the sources.
    pub groups: &'a [&'a str],
    /// One bar per group each, usually the methods.
    pub series: &'a [BarSeries<'a>],
}

/// The bars of one colour.
#[derive(Clone, Copy, Debug)]
pub struct BarSeries<'a> {
    /// Name in the legend.
    pub name: &'a str,
    /// One value per group; a missing or not finite one is written as `n/a`.
    pub values: &'a [f64],
    /// Half the length of each error bar, in the unit of the values.
    pub errors: Option<&'a [f64]>,
}

impl BarSeries<'_> {
    fn value(&self, group: usize) -> Option<f64> {
        self.values.get(group).copied().filter(|v| v.is_finite())
    }

    fn error(&self, group: usize) -> f64 {
        let error = self.errors.and_then(|errors| errors.get(group)).map_or(0.0, |e| e.abs());
        if error.is_finite() { error } else { 0.0 }
    }

    /// Ends of the bar and its error bar, from below.
    fn extent(&self, group: usize) -> (f64, f64) {
        let (value, error) = (self.value(group).unwrap_or(0.0), self.error(group));
        (value - error, value + error)
    }
}

/// How the values are written above the bars.
#[derive(Clone, Copy, PartialEq)]
enum Writing {
    Across(f32),
    Upwards(f32),
    Nothing,
}

/// Bars in groups, with error bars, the value at each bar and a legend above the panel.
pub fn bars(plot: &BarPlot<'_>) -> Picture {
    let groups = &plot.groups[..plot.groups.len().min(MOST)];
    let series = &plot.series[..plot.series.len().min(MOST)];
    if groups.is_empty() || series.is_empty() {
        return no_data(plot.title);
    }
    let title = title_of_part(plot.title, plot.groups.len());
    let extents = || series.iter().flat_map(|s| (0..groups.len()).map(|g| s.extent(g)));
    let low = extents().map(|(low, _)| low).fold(0.0, f64::min);
    let high = extents().map(|(_, high)| high).fold(0.0, f64::max);
    let (low, high) = if low == high { (0.0, 1.0) } else { (low, high) };
    let size = low.abs().max(high.abs());
    let decimals = if size >= 100.0 {
        0
    } else if size >= 2.0 {
        1
    } else {
        2
    };
    let write = |value: Option<f64>| match value {
        Some(v) if (1e-3..1e6).contains(&size) => signed(v, decimals),
        Some(v) => format!("{v:.1e}").replace('-', "−"),
        None => "n/a".to_owned(),
    };

    // the place of a bar is known once the left margin is, which hardly changes: 1150 pixels
    let place = |width: f32| width / groups.len() as f32 / (series.len() as f32 + 0.6);
    let texts: Vec<String> =
        series.iter().flat_map(|s| (0..groups.len()).map(|g| write(s.value(g)))).collect();
    let widest = |size| texts.iter().map(|text| text_width(text, size)).fold(0.0, f32::max);
    let writing = match place(1150.0) {
        room if widest(NUMBER) + GAP <= room => Writing::Across(NUMBER),
        room if widest(SMALL) + GAP <= room => Writing::Across(SMALL),
        room if NUMBER + 4.0 <= room => Writing::Upwards(NUMBER),
        room if SMALL + 2.0 <= room => Writing::Upwards(SMALL),
        _ => Writing::Nothing,
    };
    let text_length = GAP
        + match writing {
            Writing::Across(size) => size + GAP,
            Writing::Upwards(size) => widest(size) + GAP,
            Writing::Nothing => 0.0,
        };

    let height = 520.0;
    // room for the values beyond the longest bars
    let per_pixel = (high - low) / f64::from((height - 2.0 * text_length).max(100.0));
    let room = f64::from(text_length) * per_pixel;
    let low = if low < 0.0 { low - room } else { 0.0 };
    let high = if high > 0.0 { high + room } else { room };
    let y = Axis::numbers(plot.y_title, low, high, height, Way::Up);
    let left = left_of([&y]);
    let width = WIDTH - left - RIGHT;
    let x = Axis::counts("", 0, groups.len(), width, Way::Across);
    let legend = Legend::new(series.iter().enumerate().map(|(i, s)| (s.name, category(i))), left);
    let top = title_height(&title) + legend.height;
    let panel = Panel { area: Area::new(left, top, width, height), x, y };

    let names = GroupNames::new(groups, width / groups.len() as f32);
    let mut canvas = Canvas::new(WIDTH, panel.area.bottom() + 2.0 * GAP + names.height() + MARGIN);
    draw_title(&mut canvas, &title, left);
    legend.draw(&mut canvas, title_height(&title));
    panel.draw_lines(&mut canvas);
    let bar = place(width).min(width / 6.0);
    let zero = panel.up(0.0);
    for group in 0..groups.len() {
        let middle = left + width * (group as f32 + 0.5) / groups.len() as f32;
        for (i, one) in series.iter().enumerate() {
            let x = middle + bar * (i as f32 + 0.5 - series.len() as f32 / 2.0);
            let value = one.value(group);
            let end = panel.up(value.unwrap_or(0.0));
            let body = Area::new(x - 0.45 * bar, end.min(zero), 0.9 * bar, (end - zero).abs());
            if value.is_some() {
                canvas.fill(body, towards_white(category(i), 0.12));
            }
            let (below, above) = one.extent(group);
            if one.error(group) > 0.0 && value.is_some() {
                draw_error_bar(&mut canvas, x, panel.up(below), panel.up(above), bar);
            }
            let upright = value.unwrap_or(0.0) >= 0.0;
            let tip = if upright { panel.up(above.max(0.0)) } else { panel.up(below) };
            let side = if upright { -1.0 } else { 1.0 };
            let text = write(value);
            match writing {
                Writing::Across(size) => {
                    canvas.text(&text, x, tip + side * (GAP + size / 2.0), size, Align::Centre);
                }
                Writing::Upwards(size) => {
                    let align = if upright { Align::Left } else { Align::Right };
                    canvas.text_upwards(&text, x, tip + side * GAP, size, align);
                }
                Writing::Nothing => {}
            }
        }
    }
    canvas.fill(Area::new(left, zero - 1.0, width, THIN), INK);
    panel.draw_frame(&mut canvas);
    panel.draw_y(&mut canvas);
    panel.draw_y_title(&mut canvas, panel.area);
    names.draw(&mut canvas, panel.area);
    canvas.finish()
}

fn draw_error_bar(canvas: &mut Canvas, x: f32, bottom: f32, top: f32, bar: f32) {
    let half = (0.18 * bar).clamp(2.0, 14.0);
    canvas.curve(&[(x, bottom), (x, top)], THIN, INK);
    canvas.curve(&[(x - half, bottom), (x + half, bottom)], THIN, INK);
    canvas.curve(&[(x - half, top), (x + half, top)], THIN, INK);
}

/// How the names of the groups are written below them.
pub(crate) struct GroupNames {
    texts: Vec<String>,
    size: f32,
    upwards: bool,
}

impl GroupNames {
    /// Longest name that is written upwards, in pixels.
    const LENGTH: f32 = 280.0;

    /// Side by side where that keeps most of each name, or else upwards.
    pub fn new(groups: &[&str], width: f32) -> Self {
        let longest = groups.iter().map(|name| text_width(name, LABEL)).fold(0.0, f32::max);
        let upwards = longest > width - GAP && width < 160.0;
        let size = if upwards && width < LABEL + 4.0 { SMALL } else { LABEL };
        let room = if upwards { Self::LENGTH } else { width - GAP };
        let text = |name: &&str| fit(name, size, room, NAME_LENGTH);
        Self { texts: groups.iter().map(text).collect(), size, upwards }
    }

    pub fn height(&self) -> f32 {
        let lengths = self.texts.iter().map(|text| text_width(text, self.size));
        if self.upwards { lengths.fold(0.0, f32::max) } else { self.size }
    }

    pub fn draw(&self, canvas: &mut Canvas, area: Area) {
        let width = area.width / self.texts.len() as f32;
        let top = area.bottom() + GAP + 4.0;
        for (i, text) in self.texts.iter().enumerate() {
            let x = area.left + width * (i as f32 + 0.5);
            match self.upwards {
                true => canvas.text_upwards(text, x, top, self.size, Align::Right),
                false => canvas.text(text, x, top + self.size / 2.0, self.size, Align::Centre),
            }
        }
    }
}
