//! [`Recording`]: where samples come from. A [`Waveform`] in memory is one; a file reader can be
//! another, so that an hour of sound is scored without holding it.

use std::ops::Range;

use demix_signal::Waveform;
use ndarray::{Array2, ArrayViewMut2, Axis, Slice};
use rayon::prelude::*;

use crate::error::{EvalError, Group};

/// Sound that is read stretch by stretch, from any thread, in any order.
pub trait Recording: Sync {
    /// Number of channels.
    fn n_channels(&self) -> usize;

    /// Number of samples of each channel.
    fn n_samples(&self) -> usize;

    /// Samples per second, in Hz.
    fn sample_rate(&self) -> u32;

    /// Fills `out`, shape (channels, samples), with the samples from `start` on.
    ///
    /// The stretch lies within the recording; it is read again where a measure needs a second pass.
    ///
    /// # Errors
    /// Whatever keeps the samples from being read.
    fn read(&self, start: usize, out: ArrayViewMut2<'_, f32>) -> std::io::Result<()>;
}

impl Recording for Waveform {
    fn n_channels(&self) -> usize {
        Waveform::n_channels(self)
    }

    fn n_samples(&self) -> usize {
        Waveform::n_samples(self)
    }

    fn sample_rate(&self) -> u32 {
        self.sample_rate
    }

    fn read(&self, start: usize, mut out: ArrayViewMut2<'_, f32>) -> std::io::Result<()> {
        let stretch = Slice::from(start..start + out.ncols());
        out.assign(&self.samples.slice_axis(Axis(1), stretch));
        Ok(())
    }
}

impl<R: Recording + ?Sized> Recording for &R {
    fn n_channels(&self) -> usize {
        (**self).n_channels()
    }

    fn n_samples(&self) -> usize {
        (**self).n_samples()
    }

    fn sample_rate(&self) -> u32 {
        (**self).sample_rate()
    }

    fn read(&self, start: usize, out: ArrayViewMut2<'_, f32>) -> std::io::Result<()> {
        (**self).read(start, out)
    }
}

impl<R: Recording + Send + ?Sized> Recording for Box<R> {
    fn n_channels(&self) -> usize {
        (**self).n_channels()
    }

    fn n_samples(&self) -> usize {
        (**self).n_samples()
    }

    fn sample_rate(&self) -> u32 {
        (**self).sample_rate()
    }

    fn read(&self, start: usize, out: ArrayViewMut2<'_, f32>) -> std::io::Result<()> {
        (**self).read(start, out)
    }
}

/// References and estimates that agree in length, channels and rate, or a part of them in time.
pub(crate) struct Ensemble<'a, R, E> {
    pub references: &'a [R],
    pub estimates: &'a [E],
    pub n_channels: usize,
    pub start: usize,
    pub n_samples: usize,
}

impl<R, E> Clone for Ensemble<'_, R, E> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<R, E> Copy for Ensemble<'_, R, E> {}

/// A stretch of every signal, each of shape (channels, samples).
pub(crate) struct Stretch {
    pub references: Vec<Array2<f32>>,
    pub estimates: Vec<Array2<f32>>,
}

/// Samples that one task of a pass over the recordings holds at a time.
const CHUNK: usize = 1 << 16;

impl<'a, R: Recording, E: Recording> Ensemble<'a, R, E> {
    pub fn new(references: &'a [R], estimates: &'a [E]) -> Result<Self, EvalError> {
        let first = references.first().ok_or(EvalError::None(Group::Reference))?;
        if estimates.is_empty() {
            return Err(EvalError::None(Group::Estimate));
        }
        let shape = (first.n_samples(), first.n_channels(), first.sample_rate());
        for (index, reference) in references.iter().enumerate() {
            agree(Group::Reference, index, reference, shape)?;
        }
        for (index, estimate) in estimates.iter().enumerate() {
            agree(Group::Estimate, index, estimate, shape)?;
        }
        let (n_samples, n_channels, _) = shape;
        if n_samples == 0 || n_channels == 0 {
            return Err(EvalError::Empty);
        }
        Ok(Self { references, estimates, n_channels, start: 0, n_samples })
    }

    /// The samples `start .. start + n_samples` of this ensemble.
    pub fn part(&self, start: usize, n_samples: usize) -> Self {
        debug_assert!(start + n_samples <= self.n_samples, "a part lies within the whole");
        Self { start: self.start + start, n_samples, ..*self }
    }

    fn read_reference(
        &self,
        index: usize,
        start: usize,
        out: ArrayViewMut2<'_, f32>,
    ) -> Result<(), EvalError> {
        read_finite(Group::Reference, index, &self.references[index], self.start + start, out)
    }

    fn read_estimate(
        &self,
        index: usize,
        start: usize,
        out: ArrayViewMut2<'_, f32>,
    ) -> Result<(), EvalError> {
        read_finite(Group::Estimate, index, &self.estimates[index], self.start + start, out)
    }

    /// Number of channels of all signals together.
    pub fn n_rows(&self) -> usize {
        (self.references.len() + self.estimates.len()) * self.n_channels
    }

    /// A whole signal, shape (channels, samples); references count before estimates.
    pub fn read_signal(&self, signal: usize) -> Result<Array2<f32>, EvalError> {
        let mut samples = Array2::zeros((self.n_channels, self.n_samples));
        match signal.checked_sub(self.references.len()) {
            None => self.read_reference(signal, 0, samples.view_mut())?,
            Some(estimate) => self.read_estimate(estimate, 0, samples.view_mut())?,
        }
        Ok(samples)
    }

    /// The samples from `start` on, one row per channel, references before estimates; zero outside
    /// of `window`.
    pub fn read_padded(
        &self,
        window: &Range<usize>,
        start: isize,
        out: &mut Array2<f32>,
    ) -> Result<(), EvalError> {
        let (end, window_start) = (start + out.ncols() as isize, window.start as isize);
        let from = start.clamp(window_start, window.end as isize) as usize;
        let to = end.clamp(from as isize, window.end as isize) as usize;
        let inside = Slice::from(from as isize - start..to as isize - start);
        if to - from < out.ncols() {
            out.fill(0.0);
        }
        if from == to {
            return Ok(());
        }
        let rows = out.axis_chunks_iter_mut(Axis(0), self.n_channels);
        for (index, mut rows) in rows.enumerate() {
            let rows = rows.slice_axis_mut(Axis(1), inside);
            match index.checked_sub(self.references.len()) {
                None => self.read_reference(index, from, rows)?,
                Some(index) => self.read_estimate(index, from, rows)?,
            }
        }
        Ok(())
    }

    fn stretch(&self, start: usize, n_samples: usize) -> Result<Stretch, EvalError> {
        let mut stretch = Stretch { references: Vec::new(), estimates: Vec::new() };
        for index in 0..self.references.len() {
            let mut x = Array2::zeros((self.n_channels, n_samples));
            self.read_reference(index, start, x.view_mut())?;
            stretch.references.push(x);
        }
        for index in 0..self.estimates.len() {
            let mut x = Array2::zeros((self.n_channels, n_samples));
            self.read_estimate(index, start, x.view_mut())?;
            stretch.estimates.push(x);
        }
        Ok(stretch)
    }

    /// Adds up `measure` over stretches of fixed length, in the order of time: the sum does not
    /// depend on the number of threads.
    pub fn sum(&self, measure: impl Fn(&Stretch) -> Vec<f64> + Sync) -> Result<Vec<f64>, EvalError> {
        let parts: Result<Vec<Vec<f64>>, EvalError> = (0..self.n_samples.div_ceil(CHUNK))
            .into_par_iter()
            .map(|chunk| {
                let start = chunk * CHUNK;
                Ok(measure(&self.stretch(start, CHUNK.min(self.n_samples - start))?))
            })
            .collect();
        let mut parts = parts?.into_iter();
        let mut sum = parts.next().unwrap_or_default();
        for part in parts {
            sum.iter_mut().zip(&part).for_each(|(sum, part)| *sum += part);
        }
        Ok(sum)
    }
}

fn agree(
    group: Group,
    index: usize,
    signal: &impl Recording,
    (samples, channels, rate): (usize, usize, u32),
) -> Result<(), EvalError> {
    if signal.sample_rate() != rate {
        return Err(EvalError::Rate { group, index, rate: signal.sample_rate(), expected: rate });
    }
    if signal.n_channels() != channels {
        return Err(EvalError::Channels { group, index, channels: signal.n_channels(), expected: channels });
    }
    if signal.n_samples() != samples {
        return Err(EvalError::Length { group, index, samples: signal.n_samples(), expected: samples });
    }
    Ok(())
}

fn read_finite(
    group: Group,
    index: usize,
    signal: &impl Recording,
    start: usize,
    mut out: ArrayViewMut2<'_, f32>,
) -> Result<(), EvalError> {
    signal.read(start, out.view_mut()).map_err(|error| EvalError::Read { group, index, error })?;
    for (channel, row) in out.rows().into_iter().enumerate() {
        // as integers, so that the scan is a vector loop: all exponent bits set = not finite
        let largest = row.iter().fold(0, |largest, x| (x.to_bits() & 0x7fff_ffff).max(largest));
        if largest >= 0x7f80_0000 {
            let sample = start + row.iter().take_while(|x| x.is_finite()).count();
            return Err(EvalError::NotFinite { group, index, channel, sample });
        }
    }
    Ok(())
}
