//! [`score_curves`]: how good a result is after how many iterations.

use crate::axis::{Axis, Way};
use crate::canvas::{Area, Canvas, Picture};
use crate::panel::{Legend, Panel, draw_title, left_of, no_data, title_height, title_of_part};
use crate::style::{BOTTOM, CURVE, MOST, RIGHT, WIDTH, category};

/// Named scores at some iterations, which are 1 or more, on a logarithmic axis where they span more than ten.
///
/// Values that are not finite leave a gap.
pub fn score_curves(title: &str, y_title: &str, iterations: &[f64], curves: &[(&str, &[f64])]) -> Picture {
    let title = title_of_part(title, curves.len());
    let curves = &curves[..curves.len().min(MOST)];
    let finite = || curves.iter().flat_map(|(_, values)| values.iter().copied()).filter(|v| v.is_finite());
    let placed = || iterations.iter().copied().filter(|x| x.is_finite() && *x > 0.0);
    if finite().next().is_none() || placed().next().is_none() {
        return no_data(&title);
    }
    let ends = |values: &mut dyn Iterator<Item = f64>| {
        values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), x| (low.min(x), high.max(x)))
    };
    let (low, high) = ends(&mut finite());
    let (first, last) = ends(&mut placed());
    let height = 520.0;
    let room = 0.06 * (high / 2.0 - low / 2.0);
    let y = Axis::numbers(y_title, low - room, high + room, height, Way::Up);
    let left = left_of([&y]);
    let width = WIDTH - left - RIGHT;
    let x = match last / first > 10.0 {
        true => Axis::powers("Iteration", first / 1.2, last * 1.2, width, Way::Across),
        false => Axis::numbers("Iteration", first - 0.5, last + 0.5, width, Way::Across),
    };
    let legend = Legend::new(curves.iter().enumerate().map(|(i, (name, _))| (*name, category(i))), left);
    let top = title_height(&title) + legend.height;
    let panel = Panel { area: Area::new(left, top, width, height), x, y };

    let mut canvas = Canvas::new(WIDTH, panel.area.bottom() + BOTTOM);
    draw_title(&mut canvas, &title, left);
    legend.draw(&mut canvas, title_height(&title));
    panel.draw_lines(&mut canvas);
    for (i, (_, values)) in curves.iter().enumerate() {
        let points = iterations.iter().zip(*values);
        let points =
            points.map(|(&x, &y)| (x > 0.0 && y.is_finite()).then(|| (panel.across(x), panel.up(y))));
        for run in points.collect::<Vec<_>>().split(Option::is_none) {
            let run: Vec<(f32, f32)> = run.iter().flatten().copied().collect();
            canvas.curve(&run, CURVE, category(i));
            run.iter().for_each(|&point| canvas.curve(&[point], 1.3 * CURVE, category(i)));
        }
    }
    panel.draw_frame(&mut canvas);
    panel.draw_x(&mut canvas, true);
    panel.draw_y(&mut canvas);
    panel.draw_y_title(&mut canvas, panel.area);
    canvas.finish()
}
