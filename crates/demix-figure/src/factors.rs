//! [`dictionary`], [`activations`] and [`factors`]: the two factors of a factorisation.

use ndarray::{ArrayView2, Axis as Dimension};

use crate::axis::{Axis, FrequencyAxis, Tick, Way};
use crate::canvas::{Align, Area, Canvas, Picture};
use crate::heat::{MAGMA, decibels, draw_heat, largest, level_share, pool_max};
use crate::panel::{
    Legend, Panel, draw_colour_bar, draw_heading, draw_not_finite, draw_title, draw_upright_title, left_of,
    no_data, title_height,
};
use crate::spectrogram::{StftGrid, level_axis, usable_range};
use crate::style::{
    BOTTOM, COLUMN_GAP, CURVE, GAP, GRID, HEADING_GAP, LABEL, NOT_FINITE, NUMBER, RIGHT, RIGHT_OF_BARRED,
    Rgb, THIN, WIDTH, category, towards_white,
};

/// Up to this many components are drawn as curves, more as a heat map.
const MOST_CURVES: usize = 12;

/// What the product W H stands for, which decides how its factors turn into dB.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Quantity {
    /// |X|^2: 10 log10.
    #[default]
    Power,
    /// |X|: 20 log10.
    Magnitude,
}

impl Quantity {
    /// The power of a factor's entry.
    fn power(self, value: f64) -> f64 {
        match self {
            Quantity::Power => value,
            Quantity::Magnitude => value * value.abs(),
        }
    }
}

/// How factors are drawn.
///
/// # Example
/// ```
/// use demix_figure::{FactorPlot, StftGrid, activations};
/// let h = ndarray::Array2::from_shape_fn((3, 200), |(k, t)| ((t * (k + 1)) as f32 * 0.1).sin().abs());
/// let grid = StftGrid { sample_rate: 16000, fft: 1024, hop: 256 };
/// let plot = FactorPlot {
///     source_of: &[0, 0, 1],
///     source_names: &["piano", "voice"],
///     ..FactorPlot::new("Activations", grid)
/// };
/// assert!(activations(h.view(), &plot).labels.iter().any(|label| label.text == "voice"));
/// ```
#[derive(Clone, Copy, Debug)]
pub struct FactorPlot<'a> {
    /// Title above the picture; may be empty.
    pub title: &'a str,
    /// Where bins and frames lie.
    pub grid: StftGrid,
    /// Whether the factors model powers or magnitudes. Default power.
    pub quantity: Quantity,
    /// Levels from the largest one down to this many dB below are told apart. Default 60.
    pub db_range: f64,
    /// How frequencies are spread. Default linear.
    pub frequency_axis: FrequencyAxis,
    /// Source of each component, which then gives its colour. Default: none known.
    pub source_of: &'a [usize],
    /// Names of the sources, for the legend. Default: none.
    pub source_names: &'a [&'a str],
}

impl<'a> FactorPlot<'a> {
    /// The defaults.
    pub fn new(title: &'a str, grid: StftGrid) -> Self {
        Self {
            title,
            grid,
            quantity: Quantity::Power,
            db_range: 60.0,
            frequency_axis: FrequencyAxis::Linear,
            source_of: &[],
            source_names: &[],
        }
    }

    fn range(&self) -> f64 {
        usable_range(self.db_range, 60.0)
    }

    fn colour(&self, component: usize) -> Rgb {
        category(self.source_of.get(component).copied().unwrap_or(component))
    }

    fn legend(&self, left: f32) -> Legend {
        let known = !self.source_of.is_empty();
        let names = self.source_names.iter().enumerate().filter(|_| known);
        Legend::new(names.map(|(i, name)| (*name, category(i))), left)
    }
}

/// The factors W of shape (bins, components) and H of shape (components, frames).
#[derive(Clone, Copy, Debug)]
pub struct Factors<'a, T> {
    /// Dictionary, shape (bins, components).
    pub w: ArrayView2<'a, T>,
    /// Activations, shape (components, frames).
    pub h: ArrayView2<'a, T>,
}

/// The columns of W, shape (bins, components), over frequency.
///
/// Up to twelve are curves in dB below their own peak; more are a heat map in dB below the largest
/// entry.
pub fn dictionary<T: Copy + Into<f64>>(w: ArrayView2<'_, T>, plot: &FactorPlot<'_>) -> Picture {
    one(Matrix { side: Side::Dictionary, rows: w.reversed_axes(), plot })
}

/// The rows of H, shape (components, frames), over time.
///
/// Up to twelve are curves, each linear up to its own peak, whose level is written at the right;
/// more are a heat map in dB below the largest entry.
pub fn activations<T: Copy + Into<f64>>(h: ArrayView2<'_, T>, plot: &FactorPlot<'_>) -> Picture {
    one(Matrix { side: Side::Activations, rows: h, plot })
}

/// Dictionary and activations at the start (left) and at the end (right) of a factorisation.
pub fn factors<T: Copy + Into<f64>>(
    before: Factors<'_, T>,
    after: Factors<'_, T>,
    plot: &FactorPlot<'_>,
) -> Picture {
    let matrix = |side, rows| Matrix { side, rows, plot };
    // views with one common lifetime
    let before = Factors { w: before.w.view(), h: before.h.view() };
    let after = Factors { w: after.w.view(), h: after.h.view() };
    let w = [before, after].map(|f| matrix(Side::Dictionary, f.w.reversed_axes()));
    let h = [before, after].map(|f| matrix(Side::Activations, f.h));
    let rows = [w, h];
    if rows.iter().flatten().all(|matrix| matrix.rows.is_empty()) {
        return no_data(plot.title);
    }
    let heights = rows.each_ref().map(|pair| pair[0].height().max(pair[1].height()));
    let axes = rows.each_ref().map(|pair| pair[0].upright_axis(heights[0].min(heights[1])));
    let left = left_of(&axes);
    let barred = rows.iter().flatten().any(|matrix| !matrix.as_curves());
    let right = if barred { RIGHT_OF_BARRED } else { RIGHT };
    let width = ((WIDTH - left - right - COLUMN_GAP) / 2.0).floor();
    let legend = plot.legend(left);
    let band = rows[0][0].band_above().max(rows[0][1].band_above());
    let first = title_height(plot.title) + legend.height + LABEL + 2.0 * GAP + band;
    let tops = [first, first + heights[0] + BOTTOM + HEADING_GAP - 2.0 * GAP];
    let total = tops[1] + heights[1] + BOTTOM;

    let mut canvas = Canvas::new(WIDTH, total);
    draw_title(&mut canvas, plot.title, left);
    legend.draw(&mut canvas, title_height(plot.title));
    let mut marked = false;
    for (row, pair) in rows.iter().enumerate() {
        for (column, matrix) in pair.iter().enumerate() {
            let x = left + column as f32 * (width + COLUMN_GAP);
            let area = Area::new(x, tops[row], width, heights[row]);
            let name = match matrix.side {
                Side::Dictionary => "Dictionary W",
                Side::Activations => "Activations H",
            };
            let when = ["at the start", "at the end"][column];
            draw_heading(&mut canvas, &format!("{name} {when}"), area.raised(matrix.band_above()));
            marked |= matrix.draw(&mut canvas, area, column == 0);
            if column == 1 && !matrix.as_curves() {
                draw_colour_bar(&mut canvas, &level_axis(plot.range(), area.height), &MAGMA, area);
            }
        }
    }
    if marked {
        draw_not_finite(&mut canvas, total);
    }
    canvas.finish()
}

/// One factor alone in a picture.
fn one<T: Copy + Into<f64>>(matrix: Matrix<'_, T>) -> Picture {
    let plot = matrix.plot;
    if matrix.rows.is_empty() {
        return no_data(plot.title);
    }
    let height = matrix.height();
    let left = left_of([&matrix.upright_axis(height)]);
    let peaks = matrix.as_curves() && matrix.side == Side::Activations;
    let right = if peaks || !matrix.as_curves() { RIGHT_OF_BARRED } else { RIGHT };
    let legend = plot.legend(left);
    let top = title_height(plot.title) + legend.height + matrix.band_above();
    let area = Area::new(left, top, WIDTH - left - right, height);
    let total = area.bottom() + BOTTOM;

    let mut canvas = Canvas::new(WIDTH, total);
    draw_title(&mut canvas, plot.title, left);
    legend.draw(&mut canvas, title_height(plot.title));
    let marked = matrix.draw(&mut canvas, area, true);
    if !matrix.as_curves() {
        draw_colour_bar(&mut canvas, &level_axis(plot.range(), area.height), &MAGMA, area);
    } else if peaks {
        matrix.draw_peak_levels(&mut canvas, area);
    }
    if marked {
        draw_not_finite(&mut canvas, total);
    }
    canvas.finish()
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Side {
    Dictionary,
    Activations,
}

/// One factor with its components as rows.
struct Matrix<'a, T> {
    side: Side,
    rows: ArrayView2<'a, T>,
    plot: &'a FactorPlot<'a>,
}

impl<T: Copy + Into<f64>> Matrix<'_, T> {
    fn n_components(&self) -> usize {
        self.rows.nrows()
    }

    fn as_curves(&self) -> bool {
        self.n_components() <= MOST_CURVES
    }

    fn height(&self) -> f32 {
        match (self.as_curves(), self.side) {
            (true, _) if self.n_components() <= 4 => (110.0 * self.n_components() as f32).max(360.0),
            (true, _) => 72.0 * self.n_components() as f32,
            (false, Side::Dictionary) => 520.0,
            (false, Side::Activations) => (8.0 * self.n_components() as f32).clamp(320.0, 640.0),
        }
    }

    /// Height of the band of source colours above a heat map.
    fn band_above(&self) -> f32 {
        let known = !self.plot.source_of.is_empty();
        let above = known && !self.as_curves() && self.side == Side::Dictionary;
        if above { BAND + 2.0 * THIN } else { 0.0 }
    }

    /// Distance between two entries of a row, in Hz or s.
    fn spacing(&self) -> f64 {
        match self.side {
            Side::Dictionary => self.plot.grid.bin_spacing(),
            Side::Activations => self.plot.grid.frame_spacing(),
        }
    }

    /// Frequency or time.
    fn entry_axis(&self, length: f32, way: Way) -> Axis {
        let n = self.rows.ncols().max(1);
        match self.side {
            Side::Dictionary => Axis::frequency(self.plot.frequency_axis, n, self.spacing(), length, way),
            Side::Activations => self.plot.grid.time_axis(n, length),
        }
    }

    /// The components, the first one at the left or at the top.
    fn component_axis(&self, length: f32, way: Way) -> Axis {
        let mut axis = Axis::counts("Component", 1, self.n_components(), length, way);
        if way == Way::Up {
            (axis.low, axis.high) = (axis.high, axis.low);
        }
        if self.as_curves() && self.side == Side::Dictionary {
            axis.title = format!("Component ({} dB each)", self.plot.range());
        }
        axis
    }

    fn upright_axis(&self, length: f32) -> Axis {
        match (self.as_curves(), self.side) {
            (false, Side::Dictionary) => self.entry_axis(length, Way::Up),
            _ => self.component_axis(length, Way::Up),
        }
    }

    /// Draws the factor into `area`; says whether it holds values that are not finite.
    fn draw(&self, canvas: &mut Canvas, area: Area, with_y_title: bool) -> bool {
        let y = self.upright_axis(area.height);
        let x = match (self.as_curves(), self.side) {
            (false, Side::Dictionary) => self.component_axis(area.width, Way::Across),
            _ => self.entry_axis(area.width, Way::Across),
        };
        let panel = Panel { area, x, y };
        let marked = match (self.rows.is_empty(), self.as_curves()) {
            (true, _) => {
                let (x, y) = area.middle();
                canvas.text("no data", x, y, LABEL, Align::Centre);
                panel.draw_frame(canvas);
                return false;
            }
            (false, true) => self.draw_curves(canvas, &panel),
            (false, false) => self.draw_heat_map(canvas, &panel),
        };
        panel.draw_frame(canvas);
        panel.draw_x(canvas, true);
        panel.draw_y(canvas);
        if with_y_title {
            panel.draw_y_title(canvas, area);
        }
        marked
    }

    fn draw_heat_map(&self, canvas: &mut Canvas, panel: &Panel) -> bool {
        let (width, height) = (panel.area.width as usize, panel.area.height as usize);
        let n = self.n_components();
        let (entries, spacing) = (self.rows.ncols(), self.spacing());
        let mut shares = match self.side {
            Side::Dictionary => {
                let columns = panel.x.cells(width, n, 1.0, 1.0);
                let mut rows = panel.y.cells(height, entries, 0.0, spacing);
                rows.reverse();
                pool_max(self.rows.t(), &rows, &columns)
            }
            Side::Activations => {
                let mut rows = panel.y.cells(height, n, 1.0, 1.0);
                rows.reverse();
                let columns = panel.x.cells(width, entries, 0.0, spacing);
                pool_max(self.rows, &rows, &columns)
            }
        };
        shares.mapv_inplace(|value| self.plot.quantity.power(value));
        let reference = largest(&shares);
        shares.mapv_inplace(|power| level_share(power, reference, self.plot.range()));
        draw_heat(canvas, panel.area, &shares, &MAGMA);
        self.draw_source_band(canvas, panel);
        shares.iter().any(|share| share.is_nan())
    }

    /// The colour of each component's source, beside the component axis' far side.
    fn draw_source_band(&self, canvas: &mut Canvas, panel: &Panel) {
        if self.plot.source_of.is_empty() {
            return;
        }
        let area = panel.area;
        let n = self.n_components() as f32;
        let index = |pixel: usize, length: f32| ((pixel as f32 + 0.5) / length * n) as usize;
        match self.side {
            Side::Dictionary => {
                let band = Area::new(area.left, area.top - THIN - BAND, area.width, BAND);
                canvas.image(band, |_, column| self.plot.colour(index(column, area.width)));
            }
            Side::Activations => {
                let band = Area::new(area.right() + THIN, area.top, BAND, area.height);
                canvas.image(band, |row, _| self.plot.colour(index(row, area.height)));
            }
        }
    }

    fn draw_curves(&self, canvas: &mut Canvas, panel: &Panel) -> bool {
        let height = panel.area.height / self.n_components() as f32;
        let n_pixels = panel.area.width as usize;
        let mut cells = panel.x.cells(n_pixels, self.rows.ncols(), 0.0, self.spacing());
        cells.dedup();
        let mut marked = false;
        for (k, row) in self.rows.axis_iter(Dimension(0)).enumerate() {
            let (top, colour) = (panel.area.top + k as f32 * height, self.plot.colour(k));
            let strip = Area::new(panel.area.left, top, panel.area.width, height);
            if k > 0 {
                canvas.fill(Area::new(strip.left, top - 1.0, strip.width, THIN), GRID);
            }
            let values = pool_max(row.insert_axis(Dimension(0)), std::slice::from_ref(&(0..1)), &cells);
            let peak = largest(&values);
            let mut run = Vec::new();
            for (cell, value) in cells.iter().zip(&values) {
                let middle = 0.5 * (cell.start + cell.end - 1) as f64 * self.spacing();
                let x = panel.across(middle);
                if value.is_nan() {
                    draw_run(canvas, &run, strip, colour);
                    run.clear();
                    canvas.fill(Area::new(x - 2.0, strip.top, 4.0, strip.height), NOT_FINITE);
                    marked = true;
                    continue;
                }
                let share = self.share(*value, peak);
                let rise = 0.9 * (strip.height - CURVE) * share as f32;
                run.push((x, strip.bottom() - CURVE / 2.0 - rise));
            }
            if let ([(_, y)], 1) = (run.as_slice(), cells.len()) {
                // a single entry is as wide as the panel
                run = vec![(strip.left, *y), (strip.right(), *y)];
            }
            draw_run(canvas, &run, strip, colour);
        }
        marked
    }

    /// Height of a curve as a share of its peak: in dB over frequency, linear over time.
    fn share(&self, value: f64, peak: f64) -> f64 {
        let power = |value| self.plot.quantity.power(value);
        match self.side {
            _ if peak <= 0.0 => 0.0,
            Side::Dictionary => level_share(power(value), power(peak), self.plot.range()),
            Side::Activations => (value / peak).clamp(0.0, 1.0),
        }
    }

    /// The level of each row's peak below the highest peak, right of the rows.
    fn draw_peak_levels(&self, canvas: &mut Canvas, area: Area) {
        let finite = |row: ndarray::ArrayView1<'_, T>| {
            let values = row.into_iter().map(|x| (*x).into()).filter(|x: &f64| x.is_finite());
            self.plot.quantity.power(values.fold(0.0, f64::max))
        };
        let peaks: Vec<f64> = self.rows.axis_iter(Dimension(0)).map(finite).collect();
        let reference = largest(&peaks);
        let height = area.height / self.n_components() as f32;
        let text = |peak: f64| match decibels(peak, reference).round() {
            level if level.is_finite() => crate::axis::signed(level, 0),
            _ => "−∞".to_owned(),
        };
        let ticks: Vec<Tick> = peaks.iter().map(|peak| Tick { value: *peak, text: text(*peak) }).collect();
        for (k, tick) in ticks.iter().enumerate() {
            let y = area.top + (k as f32 + 0.5) * height;
            canvas.text(&tick.text, area.right() + 3.0 * GAP, y, NUMBER, Align::Left);
        }
        let widest = ticks.iter().map(|t| crate::canvas::text_width(&t.text, NUMBER));
        let x = area.right() + 4.0 * GAP + widest.fold(0.0, f32::max) + LABEL / 2.0;
        draw_upright_title(canvas, "Peak (dB)", x, area);
    }
}

/// Thickness of the band of source colours.
const BAND: f32 = 14.0;

/// A curve with the area below it.
fn draw_run(canvas: &mut Canvas, run: &[(f32, f32)], strip: Area, colour: Rgb) {
    let (Some(first), Some(last)) = (run.first(), run.last()) else { return };
    let floor = [(last.0, strip.bottom()), (first.0, strip.bottom())];
    let corners: Vec<(f32, f32)> = run.iter().copied().chain(floor).collect();
    canvas.polygon(&corners, towards_white(colour, 0.75));
    canvas.curve(run, THIN + 0.5, colour);
}
