//! [`waveforms`]: samples over time.

use demix_signal::Waveform;
use ndarray::Axis as Dimension;

use crate::axis::{Axis, Way};
use crate::canvas::{Align, Area, Canvas, Picture};
use crate::panel::{
    Panel, around, draw_heading, draw_not_finite, draw_title, left_of, no_data, title_height, title_of_part,
};
use crate::style::{
    BOTTOM, GRID, HEADING_GAP, LABEL, MOST, NOT_FINITE, NUMBER, RIGHT, Rgb, THIN, WIDTH, category,
    towards_white,
};

/// Up to this many channels get a strip each; more share one.
const MOST_STRIPS: usize = 4;

/// Named signals one above the other, with the same time axis and the same amplitude scale.
///
/// Pale: from the lowest to the highest sample of each pixel; dark: the root mean square around
/// zero. Up to four channels are drawn in a strip each, more as one joint envelope. Samples that
/// are not finite are marked by a neutral line.
pub fn waveforms(title: &str, signals: &[(&str, &Waveform)]) -> Picture {
    let seconds = |w: &Waveform| w.n_samples() as f64 / f64::from(w.sample_rate.max(1));
    let longest = signals.iter().map(|(_, w)| seconds(w)).fold(0.0, f64::max);
    if signals.iter().all(|(_, w)| w.samples.is_empty()) {
        return no_data(title);
    }
    let title = title_of_part(title, signals.len());
    let signals = &signals[..signals.len().min(MOST)];
    let finite = signals.iter().flat_map(|(_, w)| w.samples.iter()).filter(|x| x.is_finite());
    let peak = finite.fold(0f32, |peak, x| peak.max(x.abs()));
    let peak = if peak > 0.0 { f64::from(peak) * 1.02 } else { 1.0 };

    let strips = |w: &Waveform| if w.n_channels() > MOST_STRIPS { 1 } else { w.n_channels().max(1) };
    let strip_height = match signals.iter().map(|(_, w)| strips(w)).sum() {
        ..=1 => 280.0,
        2..=4 => 150.0,
        _ => 100.0,
    };
    let height = |w: &Waveform| strip_height * strips(w) as f32;
    let axis = if signals.iter().all(|(_, w)| strips(w) == 1) {
        Axis::numbers("Amplitude", -peak, peak, strip_height, Way::Up)
    } else {
        let mut axis = Axis::numbers("Amplitude", -1.3 * peak, 1.3 * peak, strip_height, Way::Up);
        // numbers near the edge of a strip would meet those of the next one
        let edge = f64::from(0.6 * NUMBER / strip_height);
        let ends = axis.clone();
        axis.ticks.retain(|tick| (edge..=1.0 - edge).contains(&ends.position(tick.value)));
        axis
    };
    let left = left_of([&axis]);
    let width = WIDTH - left - RIGHT;
    let time = Axis::time(0.0, longest, width);

    let mut top = title_height(&title) + LABEL + 10.0;
    let mut panels = Vec::new();
    for (_, w) in signals {
        let y = axis.clone();
        panels.push(Panel { area: Area::new(left, top, width, height(w)), x: time.clone(), y });
        top += height(w) + HEADING_GAP;
    }
    let whole = around(panels[0].area, panels[panels.len() - 1].area);
    let total = whole.bottom() + BOTTOM;

    let mut canvas = Canvas::new(WIDTH, total);
    draw_title(&mut canvas, &title, left);
    for (i, ((name, w), panel)) in signals.iter().zip(&panels).enumerate() {
        let heading = match w.n_channels() {
            n if n > MOST_STRIPS => format!("{name} ({n} channels)"),
            _ => (*name).to_owned(),
        };
        draw_heading(&mut canvas, &heading, panel.area);
        let area = panel.area;
        let n_strips = strips(w);
        for strip in 0..n_strips {
            let top = area.top + strip as f32 * strip_height;
            let inner = Area::new(area.left, top, area.width, strip_height);
            let panel = Panel { area: inner, x: panel.x.clone(), y: panel.y.clone() };
            let channels = if w.n_channels() > n_strips { 0..w.n_channels() } else { strip..strip + 1 };
            if w.samples.is_empty() {
                let (x, y) = inner.middle();
                canvas.text("no data", x, y, LABEL, Align::Centre);
            } else {
                draw_signal(&mut canvas, &panel, w, channels, category(i));
            }
            if strip > 0 {
                canvas.fill(Area::new(area.left, top - 1.0, area.width, THIN), GRID);
            }
            panel.draw_y(&mut canvas);
        }
        panel.draw_frame(&mut canvas);
        panel.draw_x(&mut canvas, i + 1 == signals.len());
    }
    panels[0].draw_y_title(&mut canvas, whole);
    if signals.iter().flat_map(|(_, w)| w.samples.iter()).any(|x| !x.is_finite()) {
        draw_not_finite(&mut canvas, total);
    }
    canvas.finish()
}

/// What one pixel shows of the samples that fall on it.
#[derive(Clone, Copy, Debug)]
struct Extent {
    low: f64,
    high: f64,
    rms: f64,
}

fn draw_signal(
    canvas: &mut Canvas,
    panel: &Panel,
    waveform: &Waveform,
    channels: std::ops::Range<usize>,
    colour: Rgb,
) {
    let rate = f64::from(waveform.sample_rate.max(1));
    let n = waveform.n_samples();
    let zero = panel.up(0.0);
    canvas.fill(Area::new(panel.area.left, zero - 1.0, panel.area.width, THIN), GRID);
    let end = panel.across(n as f64 / rate);
    let n_pixels = ((end - panel.area.left) as usize).max(1);

    if n < 2 * n_pixels {
        for channel in channels {
            let mut run = Vec::new();
            for (t, x) in waveform.samples.row(channel).iter().enumerate() {
                let at = panel.across((t as f64 + 0.5) / rate);
                if x.is_finite() {
                    run.push((at, panel.up(f64::from(*x))));
                } else {
                    canvas.curve(&run, THIN, colour);
                    run.clear();
                    let line = Area::new(at - 2.0, panel.area.top, 4.0, panel.area.height);
                    canvas.fill(line, NOT_FINITE);
                }
            }
            canvas.curve(&run, THIN, colour);
        }
        return;
    }

    let mut run: Vec<(f32, Extent)> = Vec::new();
    for pixel in 0..n_pixels {
        // one sample of the next pixel closes the gap between steep neighbours
        let samples = pixel * n / n_pixels..((pixel + 1) * n / n_pixels + 1).min(n);
        let (mut low, mut high, mut power) = (f64::INFINITY, f64::NEG_INFINITY, 0.0);
        let count = samples.len() * channels.len();
        for channel in channels.clone() {
            for x in waveform.samples.row(channel).slice_axis(Dimension(0), samples.clone().into()) {
                let x = f64::from(*x);
                (low, high) = (low.min(x), high.max(x));
                power += x * x;
            }
        }
        let x = panel.area.left + pixel as f32 + 0.5;
        if power.is_finite() {
            run.push((x, Extent { low, high, rms: (power / count.max(1) as f64).sqrt() }));
        } else {
            draw_envelope(canvas, panel, &run, colour);
            run.clear();
            let line = Area::new(x - 1.5, panel.area.top, 3.0, panel.area.height);
            canvas.fill(line, NOT_FINITE);
        }
    }
    draw_envelope(canvas, panel, &run, colour);
}

fn draw_envelope(canvas: &mut Canvas, panel: &Panel, run: &[(f32, Extent)], colour: Rgb) {
    /// Half the least thickness, so that silence stays visible as a line.
    const HALF: f32 = 1.0;
    let between = |upper: &dyn Fn(&Extent) -> f64, lower: &dyn Fn(&Extent) -> f64| {
        let above = run.iter().map(|(x, e)| (*x, panel.up(upper(e)) - HALF));
        let below = run.iter().rev().map(|(x, e)| (*x, panel.up(lower(e)) + HALF));
        above.chain(below).collect::<Vec<_>>()
    };
    canvas.polygon(&between(&|e| e.high, &|e| e.low), towards_white(colour, 0.5));
    // around zero, but never outside the envelope
    canvas.polygon(&between(&|e| e.rms.min(e.high), &|e| (-e.rms).max(e.low)), colour);
}
