//! Long recordings block by block: neighbouring blocks share some seconds and are cross-faded.

use demix_signal::{Cancelled, Progress, Watch, Waveform};
use ndarray::{Array2, ArrayViewMut1, s};

/// Recordings are taken whole up to this length.
const AUTO_BLOCK_FROM: f64 = 600.0;
/// Length of the automatic blocks.
const AUTO_BLOCK: f64 = 300.0;
/// Seconds that neighbouring blocks share and are cross-faded over.
const OVERLAP: f64 = 2.0;

/// A part of the recording: samples `first..last`, the first `fade` of them shared with the block before.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Block {
    pub first: usize,
    pub last: usize,
    pub fade: usize,
}

impl Block {
    /// The blocks of a recording in samples; `seconds` long, 0 for the whole, none for what suits its length.
    pub fn of(n_samples: usize, sample_rate: u32, seconds: Option<f64>) -> Vec<Self> {
        let rate = f64::from(sample_rate);
        let seconds = match seconds {
            Some(seconds) => seconds,
            None if n_samples as f64 > AUTO_BLOCK_FROM * rate => AUTO_BLOCK,
            None => 0.0,
        };
        let length = (seconds * rate) as usize;
        if length == 0 || n_samples <= length + length / 2 {
            return vec![Self { first: 0, last: n_samples, fade: 0 }];
        }
        let fade = ((OVERLAP * rate) as usize).min(length / 4);
        let n_blocks = n_samples.div_ceil(length);
        // blocks of one length, so that the last is not a crumb
        let length = n_samples.div_ceil(n_blocks);
        (0..n_blocks)
            .map(|b| Self {
                first: (b * length).saturating_sub(if b > 0 { fade } else { 0 }),
                last: ((b + 1) * length).min(n_samples),
                fade: if b > 0 { fade } else { 0 },
            })
            .collect()
    }

    /// Length of the longest of [`Block::of`] in samples.
    pub fn longest(n_samples: usize, sample_rate: u32, seconds: Option<f64>) -> usize {
        Self::of(n_samples, sample_rate, seconds).into_iter().map(Self::n_samples).max().unwrap_or(n_samples)
    }

    /// Length in samples.
    pub fn n_samples(self) -> usize {
        self.last - self.first
    }

    /// Its part of a recording, (channels, samples).
    pub fn samples_of(self, recording: &Waveform) -> Array2<f32> {
        recording.samples.slice(s![.., self.first..self.last]).to_owned()
    }

    /// Writes the sound of this block into that of the whole recording, over the end of the block before.
    pub fn write(self, sound: impl IntoIterator<Item = f32>, mut whole: ArrayViewMut1<'_, f32>) {
        let mut to = whole.slice_mut(s![self.first..self.last]);
        for (t, (to, sound)) in to.iter_mut().zip(sound).enumerate() {
            if t < self.fade {
                // equal gains add up to one: the blocks hold the same sound
                let share = (t as f32 + 0.5) / self.fade as f32;
                *to = *to * (1.0 - share) + sound * share;
            } else {
                *to = sound;
            }
        }
    }
}

/// Progress of one block as a share of all.
pub(crate) struct Part<'a> {
    pub watch: &'a mut dyn Watch,
    pub block: usize,
    pub n_blocks: usize,
}

impl Watch for Part<'_> {
    fn progress(&mut self, progress: Progress) -> Result<(), Cancelled> {
        self.watch.progress(Progress {
            done: self.block * progress.total + progress.done,
            total: self.n_blocks * progress.total,
            ..progress
        })
    }
}

#[cfg(test)]
mod tests {
    use ndarray::Array1;

    use super::*;

    #[test]
    fn blocks_cover_a_recording_and_fade_without_a_step() {
        for (n, seconds) in [(4_801_000, None), (100_000, Some(3.0)), (100_000, None), (100_000, Some(0.0))] {
            let blocks = Block::of(n, 8000, seconds);
            assert_eq!((blocks[0].first, blocks[0].fade, blocks[blocks.len() - 1].last), (0, 0, n));
            let mut whole = Array1::from_elem(n, 9.0f32);
            for (at, block) in blocks.iter().enumerate() {
                if at > 0 {
                    assert_eq!(block.first + block.fade, blocks[at - 1].last);
                }
                block.write((block.first..block.last).map(|t| t as f32), whole.view_mut());
            }
            // both blocks hold a straight line: so does their sum
            assert!(whole.iter().enumerate().all(|(t, x)| (x - t as f32).abs() < 1.0), "{n} {seconds:?}");
        }
        assert_eq!(Block::of(4_801_000, 8000, None).len(), 3);
        assert_eq!(Block::of(100_000, 8000, None).len(), 1);
    }
}
