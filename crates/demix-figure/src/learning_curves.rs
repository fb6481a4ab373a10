//! [`learning_curves`]: what a training reached after how many epochs.

use crate::axis::{Axis, Way};
use crate::canvas::{Area, Canvas, Picture};
use crate::panel::{Legend, Panel, draw_title, left_of, no_data, title_height};
use crate::style::{BOTTOM, CURVE, GAP, RIGHT, WIDTH, category};

/// One panel of [`learning_curves`].
pub struct LearningPanel<'a> {
    /// What its curves measure, with unit.
    pub y_title: &'a str,
    /// Named curves: (place on the axis, value).
    pub curves: Vec<(&'a str, Vec<(f64, f64)>)>,
}

/// Panels below each other over one axis, of epochs or of anything else, with one legend.
///
/// Values that are not finite leave a gap; a panel without any is left out.
pub fn learning_curves(title: &str, x_title: &str, panels: &[LearningPanel<'_>]) -> Picture {
    let finite = |&&(x, y): &&(f64, f64)| x.is_finite() && y.is_finite();
    let points =
        |panel: &LearningPanel<'_>| panel.curves.iter().flat_map(|(_, c)| c.clone()).collect::<Vec<_>>();
    let shown: Vec<&LearningPanel<'_>> =
        panels.iter().filter(|panel| points(panel).iter().any(|point| finite(&point))).collect();
    if shown.is_empty() {
        return no_data(title);
    }
    let ends = |values: &mut dyn Iterator<Item = f64>| {
        values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), x| (low.min(x), high.max(x)))
    };
    let all: Vec<(f64, f64)> = shown.iter().flat_map(|panel| points(panel)).collect();
    let (first, last) = ends(&mut all.iter().filter(finite).map(|&(x, _)| x));
    let height = 380.0;
    let axes: Vec<Axis> = shown
        .iter()
        .map(|panel| {
            let (low, high) = ends(&mut points(panel).iter().filter(finite).map(|&(_, y)| y));
            let room = 0.06 * (high / 2.0 - low / 2.0);
            Axis::numbers(panel.y_title, low - room, high + room, height, Way::Up)
        })
        .collect();
    let left = left_of(&axes);
    let width = WIDTH - left - RIGHT;
    let names: Vec<&str> =
        shown.iter().flat_map(|panel| panel.curves.iter().map(|(name, _)| *name)).collect();
    let legend = Legend::new(names.iter().enumerate().map(|(i, name)| (*name, category(i))), left);
    let top = title_height(title) + legend.height;
    let n = shown.len();
    let bottom = top + n as f32 * height + (n - 1) as f32 * 3.0 * GAP;

    let mut canvas = Canvas::new(WIDTH, bottom + BOTTOM);
    draw_title(&mut canvas, title, left);
    legend.draw(&mut canvas, title_height(title));
    let mut colour = 0;
    for (k, (panel_of, y)) in shown.iter().zip(axes).enumerate() {
        let area = Area::new(left, top + k as f32 * (height + 3.0 * GAP), width, height);
        let room = 0.02 * (last - first).max(1.0);
        let x = Axis::numbers(x_title, first - room, last + room, width, Way::Across);
        let panel = Panel { area, x, y };
        panel.draw_lines(&mut canvas);
        for (_, curve) in &panel_of.curves {
            let placed = curve.iter().map(|p| finite(&p).then(|| (panel.across(p.0), panel.up(p.1))));
            for run in placed.collect::<Vec<_>>().split(Option::is_none) {
                let run: Vec<(f32, f32)> = run.iter().flatten().copied().collect();
                canvas.curve(&run, CURVE, category(colour));
                if let [point] = run[..] {
                    canvas.curve(&[point], 1.3 * CURVE, category(colour));
                }
            }
            colour += 1;
        }
        panel.draw_frame(&mut canvas);
        panel.draw_x(&mut canvas, k + 1 == n);
        panel.draw_y(&mut canvas);
        panel.draw_y_title(&mut canvas, panel.area);
    }
    canvas.finish()
}
