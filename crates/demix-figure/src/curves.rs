//! [`cost_curve`] and [`cost_curves`]: numbers over iterations.

use crate::axis::{Axis, Way};
use crate::canvas::{Area, Canvas, Picture};
use crate::panel::{
    Legend, Panel, draw_not_finite, draw_title, left_of, no_data, title_height, title_of_part,
};
use crate::style::{BOTTOM, CURVE, MOST, NOT_FINITE, RIGHT, WIDTH, category};

/// The cost after each iteration, `values[0]` before the first one.
pub fn cost_curve(title: &str, values: &[f64]) -> Picture {
    cost_curves(title, "Cost", &[("", values)])
}

/// Several named curves over iterations, with a legend above the panel where there are names.
///
/// The vertical axis is logarithmic where all values are positive and span more than a factor of
/// ten. Values that are not finite leave a gap, marked by a neutral line.
pub fn cost_curves(title: &str, y_title: &str, curves: &[(&str, &[f64])]) -> Picture {
    let n = curves.iter().map(|(_, values)| values.len()).max().unwrap_or(0);
    let all = || curves.iter().flat_map(|(_, values)| values.iter().copied());
    let finite = || all().filter(|v| v.is_finite());
    if n == 0 {
        return no_data(title);
    }
    let title = title_of_part(title, curves.len());
    let curves = &curves[..curves.len().min(MOST)];
    let low = finite().fold(f64::INFINITY, f64::min);
    let high = finite().fold(f64::NEG_INFINITY, f64::max);
    let height = 520.0;
    let y = match low > 0.0 && high / 10.0 > low {
        true => {
            let room = (high / low).powf(0.04);
            Axis::powers(y_title, low / room, high * room, height, Way::Up)
        }
        false => {
            let room = 0.04 * (high - low).max(0.0);
            Axis::numbers(y_title, low - room, high + room, height, Way::Up)
        }
    };
    let left = left_of([&y]);
    let width = WIDTH - left - RIGHT;
    let mut x = Axis::counts("Iteration", 0, n, width, Way::Across);
    if n > 1 {
        (x.low, x.high) = (0.0, n as f64 - 1.0);
    }
    let named = curves.iter().enumerate().filter(|(_, (name, _))| !name.is_empty());
    let legend = Legend::new(named.map(|(i, (name, _))| (*name, category(i))), left);
    let top = title_height(&title) + legend.height;
    let panel = Panel { area: Area::new(left, top, width, height), x, y };
    let total = panel.area.bottom() + BOTTOM;

    let mut canvas = Canvas::new(WIDTH, total);
    draw_title(&mut canvas, &title, left);
    legend.draw(&mut canvas, title_height(&title));
    panel.draw_lines(&mut canvas);
    for (i, (_, values)) in curves.iter().enumerate() {
        draw_curve(&mut canvas, &panel, values, i);
    }
    panel.draw_frame(&mut canvas);
    panel.draw_x(&mut canvas, true);
    panel.draw_y(&mut canvas);
    panel.draw_y_title(&mut canvas, panel.area);
    if all().any(|v| !v.is_finite()) {
        draw_not_finite(&mut canvas, total);
    }
    canvas.finish()
}

fn draw_curve(canvas: &mut Canvas, panel: &Panel, values: &[f64], colour: usize) {
    let mut run: Vec<(f32, f32)> = Vec::new();
    for (i, value) in values.iter().enumerate() {
        let x = panel.across(i as f64);
        if value.is_finite() {
            let y = panel.up(*value);
            // many values on one pixel: a vertical line from the lowest to the highest says it all
            match run.as_slice() {
                [.., (a, first), (b, last)] if x - a < 0.5 && x - b < 0.5 => {
                    let (low, high) = (first.min(*last).min(y), first.max(*last).max(y));
                    let n = run.len();
                    (run[n - 2].1, run[n - 1].1) = (low, high);
                }
                _ => run.push((x, y)),
            }
        } else {
            canvas.curve(&run, CURVE, category(colour));
            run.clear();
            canvas.fill(Area::new(x - 2.0, panel.area.top, 4.0, panel.area.height), NOT_FINITE);
        }
    }
    canvas.curve(&run, CURVE, category(colour));
}
