//! Channels that tell something: silent ones and copies of others are left out, and get their images back at the end.

use demix_signal::Waveform;
use ndarray::{Array2, Axis};

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
}
