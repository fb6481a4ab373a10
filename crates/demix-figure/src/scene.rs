//! [`scene`]: a room from above, and how sound decays in it.

use crate::axis::{Axis, Way};
use crate::canvas::{Area, Canvas, Picture};
use crate::panel::{Legend, Panel, draw_heading, draw_title, left_of, no_data, title_height, title_of_part};
use crate::style::{BOTTOM, CURVE, GRID, HEADING_GAP, INK, LABEL, MOST, RIGHT, THIN, WIDTH, category};

/// What to draw of a scene; lengths in m, seen from above.
#[derive(Clone, Copy, Debug)]
pub struct ScenePlot<'a> {
    /// Above everything.
    pub title: &'a str,
    /// Names of the sources.
    pub names: &'a [&'a str],
    /// Sides along x and y; no plan where absent.
    pub room: Option<[f64; 2]>,
    /// Where microphones stand.
    pub microphones: &'a [[f64; 2]],
    /// Where sources stand.
    pub sources: &'a [[f64; 2]],
    /// Energy that is still to come at every sample, in dB, for each source.
    pub decays: &'a [Vec<f64>],
    /// Samples of the decays per second.
    pub sample_rate: u32,
}

/// Lowest level that is drawn, in dB.
const LOWEST: f64 = -60.0;
/// Radii of the dots, in pixels.
const SOURCE: f32 = 13.0;
const MICROPHONE: f32 = 5.0;
const PANEL_HEIGHT: f32 = 560.0;

/// The plan of a room with its sources and microphones, and beside it the decays.
pub fn scene(plot: &ScenePlot<'_>) -> Picture {
    let drawable = |x: f64| x.is_finite() && x > 0.0;
    let room = plot.room.filter(|room| room.iter().all(|side| drawable(*side)));
    let has_decay = plot.decays.iter().any(|curve| curve.iter().any(|db| db.is_finite()));
    if room.is_none() && !has_decay {
        return no_data(plot.title);
    }
    let title = title_of_part(plot.title, plot.names.len());
    let top = title_height(&title);
    let level = Axis::numbers("Energy still to come (dB)", LOWEST, 0.0, PANEL_HEIGHT, Way::Up);
    let left = left_of([&level]);
    let legend = Legend::new(plot.names.iter().enumerate().map(|(i, name)| (*name, category(i))), left);
    let panels_top = top + legend.height + LABEL + HEADING_GAP / 2.0;
    // each takes half where there are both
    let half =
        if room.is_some() && has_decay { (WIDTH - 2.0 * (left + RIGHT)) / 2.0 } else { WIDTH - left - RIGHT };
    let plan = room.map(|room| plan_panel(room, Area::new(left, panels_top, half, PANEL_HEIGHT)));
    let start = if room.is_some() { left + half + RIGHT + left } else { left };
    let decay = has_decay.then(|| {
        let longest = plot.decays.iter().map(|curve| audible(curve)).max().unwrap_or(1);
        let seconds = longest.max(1) as f64 / f64::from(plot.sample_rate.max(1));
        let area = Area::new(start, panels_top, half, PANEL_HEIGHT);
        Panel { area, x: Axis::time(0.0, seconds, half), y: level }
    });

    let mut canvas = Canvas::new(WIDTH, panels_top + PANEL_HEIGHT + BOTTOM);
    draw_title(&mut canvas, &title, left);
    legend.draw(&mut canvas, top);
    if let Some(panel) = plan {
        draw_heading(&mut canvas, "Plan", panel.area);
        draw_plan(&mut canvas, &panel, plot);
    }
    if let Some(panel) = decay {
        draw_heading(&mut canvas, "Decay at microphone 1", panel.area);
        panel.draw_lines(&mut canvas);
        for (i, curve) in plot.decays.iter().take(MOST).enumerate() {
            let seconds = |t: usize| t as f64 / f64::from(plot.sample_rate.max(1));
            // a few points per pixel say it all
            let step = (curve.len() / 4000).max(1);
            let points: Vec<(f32, f32)> = (0..audible(curve))
                .step_by(step)
                .map(|t| (panel.across(seconds(t)), panel.up(curve[t])))
                .collect();
            canvas.curve(&points, CURVE, category(i));
        }
        finish(&mut canvas, &panel);
    }
    canvas.finish()
}

/// Samples until the curve leaves the picture.
fn audible(curve: &[f64]) -> usize {
    curve.iter().position(|db| db.is_nan() || *db <= LOWEST).unwrap_or(curve.len())
}

/// The room in the largest panel of its proportions that fits into `area`, at its top left.
fn plan_panel(room: [f64; 2], area: Area) -> Panel {
    let scale = (f64::from(area.width) / room[0]).min(f64::from(area.height) / room[1]);
    // a corridor is at least as wide as its dots
    let side = |metres: f64| ((metres * scale) as f32).max(3.0 * SOURCE);
    let area = Area::new(area.left, area.top, side(room[0]), side(room[1]));
    let x = Axis::numbers("x (m)", 0.0, room[0], area.width, Way::Across);
    let y = Axis::numbers("y (m)", 0.0, room[1], area.height, Way::Up);
    Panel { area, x, y }
}

fn draw_plan(canvas: &mut Canvas, panel: &Panel, plot: &ScenePlot<'_>) {
    let at = |p: &[f64; 2]| (panel.across(p[0]), panel.up(p[1]));
    let finite = |p: &&[f64; 2]| p.iter().all(|x| x.is_finite());
    let microphones: Vec<_> = plot.microphones.iter().filter(finite).map(at).collect();
    let n = microphones.len().max(1) as f32;
    let centre = microphones.iter().fold((0.0, 0.0), |(x, y), p| (x + p.0 / n, y + p.1 / n));
    for (i, source) in plot.sources.iter().take(MOST).enumerate().filter(|(_, source)| finite(source)) {
        if !microphones.is_empty() {
            canvas.curve(&[at(source), centre], THIN, GRID);
        }
        dot(canvas, at(source), SOURCE, category(i));
    }
    for microphone in microphones {
        dot(canvas, microphone, MICROPHONE, INK);
    }
    finish(canvas, panel);
}

fn dot(canvas: &mut Canvas, at: (f32, f32), radius: f32, colour: crate::style::Rgb) {
    // one point alone is a dot of one and a half times the thickness
    canvas.curve(&[at], radius / 1.5, colour);
}

fn finish(canvas: &mut Canvas, panel: &Panel) {
    panel.draw_frame(canvas);
    panel.draw_x(canvas, true);
    panel.draw_y(canvas);
    panel.draw_y_title(canvas, panel.area);
}
