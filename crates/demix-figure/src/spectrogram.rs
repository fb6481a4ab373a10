//! [`spectrogram`], [`spectrogram_grid`] and [`mask`]: matrices over time and frequency.

use ndarray::{Array2, ArrayView2};

use crate::axis::{Axis, FrequencyAxis, Way};
use crate::canvas::{Align, Area, Canvas, Picture};
use crate::heat::{ColourMap, MAGMA, VIRIDIS, draw_heat, largest, level_share, pool_max};
use crate::panel::{
    Panel, around, draw_colour_bar, draw_heading, draw_not_finite, draw_title, left_of, no_data,
    title_height, title_of_part,
};
use crate::style::{BOTTOM, HEADING_GAP, LABEL, MOST, RIGHT_OF_BARRED, WIDTH};

/// Space between the title and the heading of the first panel.
const GAP_BELOW_TITLE: f32 = 10.0;

/// Where the bins and frames of a spectrogram lie in frequency and time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StftGrid {
    /// Samples per second, in Hz.
    pub sample_rate: u32,
    /// Length of the Fourier transform, in samples; bins are `sample_rate / fft` Hz apart.
    pub fft: usize,
    /// Distance between frames, in samples; frame `t` is centred at `t * hop`.
    pub hop: usize,
}

impl StftGrid {
    /// Distance between bins, in Hz.
    pub(crate) fn bin_spacing(&self) -> f64 {
        f64::from(self.sample_rate.max(1)) / self.fft.max(1) as f64
    }

    /// Distance between frames, in seconds.
    pub(crate) fn frame_spacing(&self) -> f64 {
        self.hop.max(1) as f64 / f64::from(self.sample_rate.max(1))
    }

    pub(crate) fn time_axis(&self, n_frames: usize, length: f32) -> Axis {
        let step = self.frame_spacing();
        Axis::time(-0.5 * step, (n_frames as f64 - 0.5) * step, length)
    }
}

/// How [`spectrogram`], [`spectrogram_grid`] and [`mask`] draw.
///
/// # Example
/// ```
/// use demix_figure::{FrequencyAxis, SpectrogramPlot, StftGrid, spectrogram};
/// let power = ndarray::Array2::from_shape_fn((513, 90), |(f, t)| (-((f + t) as f32) / 99.0).exp());
/// let grid = StftGrid { sample_rate: 16000, fft: 1024, hop: 256 };
/// let plot = SpectrogramPlot {
///     frequency_axis: FrequencyAxis::Mel,
///     ..SpectrogramPlot::new("Decay", grid)
/// };
/// assert_eq!(spectrogram(power.view(), &plot).width, 1400);
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SpectrogramPlot<'a> {
    /// Title above the picture; may be empty.
    pub title: &'a str,
    /// Where bins and frames lie.
    pub grid: StftGrid,
    /// Levels from the reference down to this many dB below have different colours, 1 to
    /// 900 dB; no effect on a mask. Default 80.
    pub db_range: f64,
    /// Power of 0 dB, so that several pictures share it; no effect on a mask. Default: the largest
    /// power drawn.
    pub reference: Option<f64>,
    /// How frequencies are spread. Default linear.
    pub frequency_axis: FrequencyAxis,
}

impl<'a> SpectrogramPlot<'a> {
    /// The defaults.
    pub fn new(title: &'a str, grid: StftGrid) -> Self {
        let (db_range, reference) = (80.0, None);
        Self { title, grid, db_range, reference, frequency_axis: FrequencyAxis::Linear }
    }
}

/// A spectrogram in dB: time across, frequency up, level as colour.
///
/// `power` is |X|^2, shape (bins, frames). Each pixel shows the largest of the values that fall on
/// it, so that no short sound and no narrow partial gets lost; few values become sharp blocks.
pub fn spectrogram<T: Copy + Into<f64>>(power: ArrayView2<'_, T>, plot: &SpectrogramPlot<'_>) -> Picture {
    levels(&[("", power)], plot)
}

/// The spectrogram of a mixture above those of its named sources, all with the same 0 dB: that of
/// the plot, or else the largest power of all panels. Each is |X|^2, shape (bins, frames).
pub fn spectrogram_grid<T: Copy + Into<f64>>(
    mixture: ArrayView2<'_, T>,
    sources: &[(&str, ArrayView2<'_, T>)],
    plot: &SpectrogramPlot<'_>,
) -> Picture {
    let mut panels = vec![("mixture", mixture.view())];
    panels.extend(sources.iter().map(|(name, power)| (*name, power.view())));
    levels(&panels, plot)
}

/// A mask of shape (bins, frames) with values 0..1: time across, frequency up, share as colour.
pub fn mask<T: Copy + Into<f64>>(mask: ArrayView2<'_, T>, plot: &SpectrogramPlot<'_>) -> Picture {
    let bar = |length| Axis::numbers("Mask", 0.0, 1.0, length, Way::Up);
    Stack { plot, map: &VIRIDIS }.draw(&[("", mask)], |cells| cells, bar)
}

fn levels<T: Copy + Into<f64>>(panels: &[(&str, ArrayView2<'_, T>)], plot: &SpectrogramPlot<'_>) -> Picture {
    let range = usable_range(plot.db_range, 80.0);
    let shares = |mut cells: Vec<Array2<f64>>| {
        let loudest = largest(cells.iter().flatten());
        let usable = |power: &f64| power.is_finite() && *power > 0.0;
        let reference = plot.reference.filter(usable).unwrap_or(loudest);
        let share = |power: f64| level_share(power, reference, range);
        cells.iter_mut().for_each(|cells| cells.mapv_inplace(share));
        cells
    };
    Stack { plot, map: &MAGMA }.draw(panels, shares, |length| level_axis(range, length))
}

/// `range` where it is a length in dB, held to what the colour bar can tell, or else `default`.
pub(crate) fn usable_range(range: f64, default: f64) -> f64 {
    if range.is_finite() && range > 0.0 { range.clamp(1.0, 900.0) } else { default }
}

/// The axis of a colour bar for levels, 0 dB at the top.
pub(crate) fn level_axis(range: f64, length: f32) -> Axis {
    Axis::numbers("Level (dB)", -range, 0.0, length, Way::Up)
}

/// Panels one above the other that share the time axis and the colours.
struct Stack<'a> {
    plot: &'a SpectrogramPlot<'a>,
    map: &'a ColourMap,
}

impl Stack<'_> {
    /// `shares` turns the largest value on each pixel into a share of the colour map, `bar` makes
    /// the axis of the colour bar from its length.
    fn draw<T: Copy + Into<f64>>(
        &self,
        panels: &[(&str, ArrayView2<'_, T>)],
        shares: impl Fn(Vec<Array2<f64>>) -> Vec<Array2<f64>>,
        bar: impl Fn(f32) -> Axis,
    ) -> Picture {
        if panels.iter().all(|(_, matrix)| matrix.is_empty()) {
            return no_data(self.plot.title);
        }
        let title = title_of_part(self.plot.title, panels.len());
        let panels = &panels[..panels.len().min(MOST)];
        let height = match panels.len() {
            1 => 560.0,
            2..=3 => 300.0,
            4..=6 => 220.0,
            _ => 160.0,
        };
        let named = panels.iter().any(|(name, _)| !name.is_empty());
        let spacing = self.plot.grid.bin_spacing();
        let frequency = |n_bins: usize| {
            Axis::frequency(self.plot.frequency_axis, n_bins.max(1), spacing, height, Way::Up)
        };
        let upright: Vec<Axis> = panels.iter().map(|(_, m)| frequency(m.nrows())).collect();
        let left = left_of(&upright);
        let width = WIDTH - left - RIGHT_OF_BARRED;
        let n_frames = panels.iter().map(|(_, m)| m.ncols()).max().unwrap_or(1).max(1);
        let time = self.plot.grid.time_axis(n_frames, width);

        let top = title_height(&title) + if named { LABEL + GAP_BELOW_TITLE } else { 0.0 };
        let layout = |(i, y): (usize, Axis)| {
            let area = Area::new(left, top + i as f32 * (height + HEADING_GAP), width, height);
            Panel { area, x: time.clone(), y }
        };
        let frames: Vec<Panel> = upright.into_iter().enumerate().map(layout).collect();
        let cells = panels.iter().zip(&frames).map(|((_, m), panel)| self.pool(*m, panel)).collect();
        let shares = shares(cells);

        let (first, last) = (frames[0].area, frames[frames.len() - 1].area);
        let whole = around(first, last);
        let total = last.bottom() + BOTTOM;
        let mut canvas = Canvas::new(WIDTH, total);
        draw_title(&mut canvas, &title, left);
        for (i, ((name, _), panel)) in panels.iter().zip(&frames).enumerate() {
            let shares = &shares[i];
            draw_heading(&mut canvas, name, panel.area);
            let image = Area::new(panel.area.left, panel.area.top, shares.ncols() as f32, height);
            if shares.is_empty() {
                let (x, y) = panel.area.middle();
                canvas.text("no data", x, y, LABEL, Align::Centre);
            } else {
                draw_heat(&mut canvas, image, shares, self.map);
            }
            panel.draw_frame(&mut canvas);
            panel.draw_x(&mut canvas, i + 1 == panels.len());
            panel.draw_y(&mut canvas);
        }
        frames[0].draw_y_title(&mut canvas, whole);
        draw_colour_bar(&mut canvas, &bar(whole.height), self.map, whole);
        if shares.iter().flatten().any(|share| share.is_nan()) {
            draw_not_finite(&mut canvas, total);
        }
        canvas.finish()
    }

    /// The largest value on each pixel of the panel; fewer columns than the panel has pixels where
    /// the matrix ends before the time axis does.
    fn pool<T: Copy + Into<f64>>(&self, matrix: ArrayView2<'_, T>, panel: &Panel) -> Array2<f64> {
        let (n_bins, n_frames) = matrix.dim();
        if matrix.is_empty() {
            return Array2::zeros((0, 0));
        }
        let step = self.plot.grid.frame_spacing();
        let share = panel.x.position((n_frames as f64 - 0.5) * step);
        let n_columns = ((share * f64::from(panel.area.width)).round() as usize).max(1);
        let time = self.plot.grid.time_axis(n_frames, panel.area.width);
        let columns = time.cells(n_columns, n_frames, 0.0, step);
        let spacing = self.plot.grid.bin_spacing();
        let mut rows = panel.y.cells(panel.area.height as usize, n_bins, 0.0, spacing);
        rows.reverse();
        pool_max(matrix, &rows, &columns)
    }
}
