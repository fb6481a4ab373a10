//! A frame with its neighbours, freed of the level: the rows that enter the network.
//!
//! The level g of frame j is the mean of norm(x_j') / sqrt(bins) over the frames j' = j-2c, j-2c+2, .., j+2c, frames
//! beyond the ends counting as silent. All magnitudes of the row are divided by g, what comes out is multiplied by it:
//! c times the sound gives c times the estimate. The input `linear` is every magnitude over g; `bands` is
//! log10(10 (b / g + 1e-3)) with b the mean magnitude of a band: about -2 to 2.

use ndarray::{Array2, ArrayView2, Axis};
use rayon::prelude::*;

use crate::{Header, InputName, NnError};

/// Added to a band's mean over the level: 60 dB below it the network hears nothing.
const BAND_FLOOR: f32 = 1e-3;

/// How rows are made from magnitudes.
#[derive(Clone, Debug)]
pub(crate) struct Features {
    n_bins: usize,
    context: usize,
    /// First bins of the bands, and the end; `None`: every bin for itself.
    edges: Option<Vec<usize>>,
    /// The range of nu_NMF, where the last input of a row tells it.
    condition: Option<(f64, f64)>,
}

/// Magnitudes whose frames can be asked for.
pub(crate) struct Frames {
    /// (frames, bins).
    pub magnitudes: Array2<f32>,
    /// (frames, bands), where the input has bands.
    bands: Option<Array2<f32>>,
    /// norm / sqrt(bins) of each frame.
    levels: Vec<f64>,
}

impl Frames {
    pub fn n_frames(&self) -> usize {
        self.levels.len()
    }
}

impl Features {
    pub fn new(header: &Header) -> Self {
        let n_bins = header.n_bins();
        let edges = match header.network.input {
            InputName::Bands => Some(band_edges(header.network.bands, n_bins)),
            InputName::Linear => None,
        };
        Self { n_bins, context: header.network.context, edges, condition: header.loss.condition() }
    }

    /// Numbers of a row.
    pub fn n_inputs(&self) -> usize {
        self.per_frame() * (2 * self.context + 1) + usize::from(self.condition.is_some())
    }

    fn per_frame(&self) -> usize {
        self.edges.as_ref().map_or(self.n_bins, |edges| edges.len() - 1)
    }

    /// Checks and turns magnitudes (bins, frames).
    ///
    /// # Errors
    /// Another number of bins; values that are negative or not finite (`what` tells whose).
    pub fn frames(&self, magnitude: ArrayView2<'_, f32>, what: &'static str) -> Result<Frames, NnError> {
        let magnitudes = self.turned(magnitude, what)?;
        let levels = magnitudes
            .outer_iter()
            .map(|frame| {
                let power: f64 = frame.iter().map(|&x| f64::from(x) * f64::from(x)).sum();
                (power / self.n_bins as f64).sqrt()
            })
            .collect();
        let bands = self.edges.as_ref().map(|edges| {
            let mut bands = Array2::zeros((magnitudes.nrows(), edges.len() - 1));
            bands.axis_iter_mut(Axis(0)).into_par_iter().zip(magnitudes.axis_iter(Axis(0))).for_each(
                |(mut row, frame)| {
                    for (band, edge) in row.iter_mut().zip(edges.windows(2)) {
                        let sum: f64 = (edge[0]..edge[1]).map(|bin| f64::from(frame[bin])).sum();
                        *band = (sum / (edge[1] - edge[0]) as f64) as f32;
                    }
                },
            );
            bands
        });
        Ok(Frames { magnitudes, bands, levels })
    }

    /// (bins, frames) to (frames, bins), checked.
    pub fn turned(&self, magnitude: ArrayView2<'_, f32>, what: &'static str) -> Result<Array2<f32>, NnError> {
        if magnitude.nrows() != self.n_bins {
            return Err(NnError::Bins { given: magnitude.nrows(), expected: self.n_bins });
        }
        let wrong = magnitude.indexed_iter().find(|&(_, &value)| !(value.is_finite() && value >= 0.0));
        if let Some(((bin, frame), &value)) = wrong {
            return Err(NnError::NotAMagnitude { what, value, bin, frame });
        }
        Ok(magnitude.t().as_standard_layout().into_owned())
    }

    /// Fills the row of a frame and returns the level g; 0 if the whole neighbourhood is silent.
    pub fn row(&self, frames: &Frames, frame: usize, nu_nmf: f64, row: &mut [f32]) -> f64 {
        let reach = 2 * self.context;
        // frame numbers shifted by the reach, so that none is negative
        let neighbours = (frame..=frame + 2 * reach)
            .step_by(2)
            .map(|shifted| shifted.checked_sub(reach).filter(|&neighbour| neighbour < frames.n_frames()));
        let sum: f64 = neighbours.clone().flatten().map(|neighbour| frames.levels[neighbour]).sum();
        let level = sum / (2 * self.context + 1) as f64;
        let gain = if level > 0.0 { 1.0 / level } else { 0.0 };
        let over_level = |x: f32| (f64::from(x) * gain) as f32;
        let band_feature = |x: f32| (10.0 * (x + BAND_FLOOR)).log10();
        for (neighbour, part) in neighbours.zip(row.chunks_exact_mut(self.per_frame())) {
            match (&frames.bands, neighbour) {
                (Some(_), None) => part.fill(band_feature(0.0)),
                (None, None) => part.fill(0.0),
                (Some(bands), Some(neighbour)) => {
                    for (out, &x) in part.iter_mut().zip(bands.row(neighbour)) {
                        *out = band_feature(over_level(x));
                    }
                }
                (None, Some(neighbour)) => {
                    for (out, &x) in part.iter_mut().zip(frames.magnitudes.row(neighbour)) {
                        *out = over_level(x);
                    }
                }
            }
        }
        self.condition_row(nu_nmf, row);
        level
    }

    /// The range of nu_NMF, where it is an input.
    pub fn condition(&self) -> Option<(f64, f64)> {
        self.condition
    }

    /// Writes nu_NMF, where it is an input, as the last number of a row: -1 to 1 over its range of logarithms.
    pub fn condition_row(&self, nu_nmf: f64, row: &mut [f32]) {
        if let (Some((lowest, highest)), Some(last)) = (self.condition, row.last_mut()) {
            *last = (2.0 * (nu_nmf / lowest).ln() / (highest / lowest).ln() - 1.0) as f32;
        }
    }
}

/// First bins of `bands` bands (at most one for each bin) from 0 to `n_bins`, and the end: as wide as their frequency
/// is high, none narrower than a bin.
fn band_edges(bands: usize, n_bins: usize) -> Vec<usize> {
    let bands = bands.min(n_bins);
    if bands <= 1 {
        return vec![0, n_bins];
    }
    let mut edges = vec![0, 1];
    while edges.len() <= bands {
        let edge = edges[edges.len() - 1];
        let left = bands + 1 - edges.len();
        // the ratio that would reach the end with the bands that are left
        let ratio = (n_bins as f64 / edge as f64).powf(1.0 / left as f64);
        let next = (edge as f64 * ratio).round() as usize;
        edges.push(next.clamp(edge + 1, n_bins + 1 - left));
    }
    edges
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bands_share_out_every_bin_and_widen() {
        for (bands, n_bins) in
            [(256, 2049), (256, 129), (1, 1), (1, 9), (2, 3), (5, 5), (64, 1025), (300, 301)]
        {
            let edges = band_edges(bands, n_bins);
            assert_eq!(edges.len(), bands.min(n_bins) + 1);
            assert_eq!((edges[0], edges[edges.len() - 1]), (0, n_bins), "{bands} {n_bins}");
            let widths: Vec<usize> = edges.windows(2).map(|edge| edge[1] - edge[0]).collect();
            assert!(widths.iter().all(|&width| width >= 1));
            // rounding may narrow a band by a bin or two
            assert!(widths.windows(2).all(|pair| pair[1] + 2 >= pair[0]), "{widths:?}");
        }
    }
}
