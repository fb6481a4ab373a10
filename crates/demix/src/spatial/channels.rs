//! Channels that tell something: silent ones and copies of others are left out, and get their images back at the end.

use demix_signal::Waveform;
use demix_spatial::C64;
use ndarray::{Array2, Array3, ArrayView2, Axis};

/// Where each channel's image comes from.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Origin {
    /// Silence.
    Silent,
    /// This distinct channel, times a gain.
    Channel(usize, f32),
}

/// The distinct channels of a mixture.
#[derive(Clone, Debug)]
pub(crate) struct Distinct {
    origins: Vec<Origin>,
    n_distinct: usize,
}

/// Copies agree to this share of their power: 24 bit rounding passes, another microphone does not.
const COPY: f64 = 1e-12;

impl Distinct {
    /// Looks at every channel; sentences tell what is left out.
    pub(super) fn of(mixture: &Waveform, warnings: &mut Vec<String>) -> Self {
        Self::within(mixture, COPY, warnings)
    }

    /// As [`Distinct::of`], where copies may differ by this share of their power.
    pub(crate) fn within(mixture: &Waveform, share: f64, warnings: &mut Vec<String>) -> Self {
        let mut origins: Vec<Origin> = Vec::new();
        let mut kept: Vec<usize> = Vec::new();
        for (channel, samples) in mixture.samples.outer_iter().enumerate() {
            if samples.iter().all(|&x| x == 0.0) {
                warnings.push(format!("channel {} is silent, left out", channel + 1));
                origins.push(Origin::Silent);
                continue;
            }
            let dot = |a: usize, b: usize| -> f64 {
                let (a, b) = (mixture.samples.row(a), mixture.samples.row(b));
                a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum()
            };
            let copy = kept.iter().enumerate().find_map(|(at, &other)| {
                let (own, power, cross) = (dot(channel, channel), dot(other, other), dot(channel, other));
                let gain = cross / power;
                (own - gain * cross <= share * own).then_some((at, other, gain))
            });
            match copy {
                Some((at, other, gain)) => {
                    let (channel, other) = (channel + 1, other + 1);
                    warnings.push(format!(
                        "channel {channel} is a copy of channel {other} (times {gain:.3}), left out"
                    ));
                    origins.push(Origin::Channel(at, gain as f32));
                }
                None => {
                    origins.push(Origin::Channel(kept.len(), 1.0));
                    kept.push(channel);
                }
            }
        }
        Self { origins, n_distinct: kept.len() }
    }

    /// Number of channels that are left.
    pub(crate) fn len(&self) -> usize {
        self.n_distinct
    }

    /// Channels of the mixture that are left, in order.
    fn kept(&self) -> Vec<usize> {
        (0..self.n_distinct)
            .filter_map(|at| {
                // the first with this origin is the channel itself
                self.origins.iter().position(|o| matches!(o, Origin::Channel(other, _) if *other == at))
            })
            .collect()
    }

    /// The waveform of the distinct channels.
    pub(super) fn pick(&self, mixture: &Waveform) -> Waveform {
        if self.n_distinct == self.origins.len() {
            return mixture.clone();
        }
        Waveform::new(mixture.samples.select(Axis(0), &self.kept()), mixture.sample_rate)
    }

    /// W (bins, sources, channels) of the distinct channels for all of them: the others are not listened to.
    pub(super) fn spread(&self, demixing: Array3<C64>) -> Array3<C64> {
        if self.n_distinct == self.origins.len() {
            return demixing;
        }
        let (n_bins, n, _) = demixing.dim();
        let mut all = Array3::zeros((n_bins, n, self.origins.len()));
        for (at, channel) in self.kept().into_iter().enumerate() {
            all.index_axis_mut(Axis(2), channel).assign(&demixing.index_axis(Axis(2), at));
        }
        all
    }

    /// Gains (bins, channels, sources) of images on all channels, as [`Distinct::restore`].
    pub(super) fn restore_rows(&self, gains: Array3<C64>) -> Array3<C64> {
        if self.n_distinct == self.origins.len() {
            return gains;
        }
        let (n_bins, _, n) = gains.dim();
        let mut all = Array3::zeros((n_bins, self.origins.len(), n));
        for (channel, origin) in self.origins.iter().enumerate() {
            if let Origin::Channel(at, gain) = *origin {
                let row = gains.index_axis(Axis(1), at).mapv(|a| a * f64::from(gain));
                all.index_axis_mut(Axis(1), channel).assign(&row);
            }
        }
        all
    }

    /// The image on all channels from that on the distinct ones.
    pub(super) fn restore(&self, image: Array2<f32>) -> Array2<f32> {
        if self.n_distinct == self.origins.len() {
            return image;
        }
        let mut all = Array2::zeros((self.origins.len(), image.ncols()));
        for (mut row, origin) in all.outer_iter_mut().zip(&self.origins) {
            if let Origin::Channel(at, gain) = *origin {
                row.assign(&(&image.row(at) * gain));
            }
        }
        all
    }
}

/// Every so many samples are enough to see which part of a recording tells most.
const STRIDE: usize = 7;

/// How loud the channels (rows) are with what they do not share: the sum of their covariance's eigenvalues but for the
/// largest, at least. Silence and one signal at any gains tell nothing.
pub(crate) fn told_by(channels: ArrayView2<'_, f32>) -> f64 {
    let m = channels.nrows();
    let rows: Vec<Vec<f64>> = channels
        .outer_iter()
        .map(|row| row.iter().step_by(STRIDE).map(|&x| f64::from(x)).collect())
        .collect();
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let covariance: Vec<f64> = (0..m * m).map(|i| dot(&rows[i / m], &rows[i % m])).collect();
    // the sum of squares is at most the largest eigenvalue times the sum of all
    let sum: f64 = (0..m).map(|i| covariance[i * m + i]).sum();
    let squares: f64 = covariance.iter().map(|c| c * c).sum();
    if sum > 0.0 { (sum - squares / sum).max(0.0) } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    #[test]
    fn silent_and_copied_channels_are_left_out_and_come_back() {
        let samples = array![
            [0.0f32, 0.0, 0.0, 0.0],
            [1.0, -2.0, 0.5, 3.0],
            [-0.5, 1.0, -0.25, -1.5],
            [1.0, 2.0, 0.0, 1.0],
        ];
        let mut warnings = Vec::new();
        let mixture = Waveform::new(samples.clone(), 8000);
        let distinct = Distinct::of(&mixture, &mut warnings);
        assert_eq!(distinct.len(), 2);
        assert_eq!(
            warnings,
            ["channel 1 is silent, left out", "channel 3 is a copy of channel 2 (times -0.500), left out"]
        );
        assert_eq!(distinct.restore(distinct.pick(&mixture).samples), samples);
    }

    #[test]
    fn filters_speak_of_all_channels() {
        // channel 1 is silent, 3 a copy of 2
        let samples = array![[0.0f32, 0.0, 0.0], [1.0, -2.0, 0.5], [-0.5, 1.0, -0.25], [1.0, 2.0, 0.0]];
        let mixture = Waveform::new(samples.clone(), 8000);
        let distinct = Distinct::of(&mixture, &mut Vec::new());
        let numbers = |n: usize| (0..n).map(|k| C64::new(k as f64 + 1.0, -0.5 * k as f64));
        let w = Array3::from_shape_vec((1, 2, 2), numbers(4).collect()).unwrap();
        let a = Array3::from_shape_vec((1, 2, 2), numbers(4).collect()).unwrap();
        let (all_w, all_a) = (distinct.spread(w.clone()), distinct.restore_rows(a.clone()));
        assert_eq!((all_w.dim(), all_a.dim()), ((1, 2, 4), (1, 4, 2)));
        let x = |m: usize, t: usize| f64::from(samples[[m, t]]);
        for t in 0..3 {
            for n in 0..2 {
                // y from all channels is that from the distinct ones
                let y: C64 = (0..4).map(|m| all_w[[0, n, m]] * x(m, t)).sum();
                assert_eq!(y, w[[0, n, 0]] * x(1, t) + w[[0, n, 1]] * x(3, t));
                // and the image on the copy is that on its original, times its gain
                assert_eq!(all_a[[0, 2, n]] * y, all_a[[0, 1, n]] * y * -0.5);
                assert_eq!(all_a[[0, 0, n]], C64::new(0.0, 0.0));
                assert_eq!((all_a[[0, 1, n]], all_a[[0, 3, n]]), (a[[0, 0, n]], a[[0, 1, n]]));
            }
        }
    }
}
