//! Real transforms of short blocks, real and imaginary parts apart so that loops over bins become
//! vector instructions.

use std::ops::Range;
use std::sync::Arc;

use realfft::num_complex::Complex;
use realfft::{ComplexToReal, RealFftPlanner, RealToComplex};

/// Transforms of one length.
#[derive(Clone)]
pub(super) struct Plan {
    /// Length of the transform in samples.
    pub length: usize,
    /// New samples per block: the rest of the length is the reach of the filters.
    pub block: usize,
    /// Number of bins.
    pub n_bins: usize,
    forward: Arc<dyn RealToComplex<f64>>,
    inverse: Arc<dyn ComplexToReal<f64>>,
}

impl Plan {
    /// Blocks several times as long as the filters, but no longer than the signals need.
    pub fn new(filter_length: usize, n_samples: usize) -> Self {
        let wanted = (8 * filter_length).max(1024);
        let length = wanted.min(n_samples + filter_length - 1).max(2 * filter_length).next_power_of_two();
        let mut planner = RealFftPlanner::new();
        Self {
            length,
            block: length - (filter_length - 1),
            n_bins: length / 2 + 1,
            forward: planner.plan_fft_forward(length),
            inverse: planner.plan_fft_inverse(length),
        }
    }

    pub fn scratch(&self) -> Scratch {
        Scratch {
            samples: vec![0.0; self.length],
            bins: vec![Complex::default(); self.n_bins],
            work: vec![
                Complex::default();
                self.forward.get_scratch_len().max(self.inverse.get_scratch_len())
            ],
        }
    }

    /// The spectrum of `samples`, zeros after them up to the length of the transform.
    pub fn forward<T: Copy + Into<f64>>(
        &self,
        samples: &[T],
        re: &mut [f64],
        im: &mut [f64],
        scratch: &mut Scratch,
    ) {
        let (head, tail) = scratch.samples.split_at_mut(samples.len());
        head.iter_mut().zip(samples).for_each(|(out, &x)| *out = x.into());
        tail.fill(0.0);
        self.forward
            .process_with_scratch(&mut scratch.samples, &mut scratch.bins, &mut scratch.work)
            .expect("buffers have the lengths of the plan");
        for ((re, im), bin) in re.iter_mut().zip(im).zip(&scratch.bins) {
            (*re, *im) = (bin.re, bin.im);
        }
    }

    /// The samples of a spectrum, times the length of the transform.
    pub fn inverse<'s>(&self, re: &[f64], im: &[f64], scratch: &'s mut Scratch) -> &'s mut [f64] {
        for ((bin, &re), &im) in scratch.bins.iter_mut().zip(re).zip(im) {
            *bin = Complex::new(re, im);
        }
        // both ends of a real signal's spectrum are real
        scratch.bins[0].im = 0.0;
        scratch.bins[self.n_bins - 1].im = 0.0;
        self.inverse
            .process_with_scratch(&mut scratch.bins, &mut scratch.samples, &mut scratch.work)
            .expect("buffers have the lengths of the plan");
        &mut scratch.samples
    }
}

/// Buffers of one task.
pub(super) struct Scratch {
    samples: Vec<f64>,
    bins: Vec<Complex<f64>>,
    work: Vec<Complex<f64>>,
}

/// Spectra in slots, all of one length.
#[derive(Clone)]
pub(super) struct Spectra {
    n_bins: usize,
    re: Vec<f64>,
    im: Vec<f64>,
}

impl Spectra {
    pub fn new(n_slots: usize, n_bins: usize) -> Self {
        Self { n_bins, re: vec![0.0; n_slots * n_bins], im: vec![0.0; n_slots * n_bins] }
    }

    fn range(&self, slot: usize) -> Range<usize> {
        slot * self.n_bins..(slot + 1) * self.n_bins
    }

    pub fn slot(&self, slot: usize) -> (&[f64], &[f64]) {
        let range = self.range(slot);
        (&self.re[range.clone()], &self.im[range])
    }

    pub fn slot_mut(&mut self, slot: usize) -> (&mut [f64], &mut [f64]) {
        let range = self.range(slot);
        (&mut self.re[range.clone()], &mut self.im[range])
    }

    fn tile(&self, slot: usize, tile: &Range<usize>) -> (&[f64], &[f64]) {
        let range = slot * self.n_bins + tile.start..slot * self.n_bins + tile.end;
        (&self.re[range.clone()], &self.im[range])
    }

    fn tile_mut(&mut self, slot: usize, tile: &Range<usize>) -> (&mut [f64], &mut [f64]) {
        let range = slot * self.n_bins + tile.start..slot * self.n_bins + tile.end;
        (&mut self.re[range.clone()], &mut self.im[range])
    }

    pub fn add(&mut self, other: &Spectra) {
        self.re.iter_mut().zip(&other.re).for_each(|(sum, x)| *sum += x);
        self.im.iter_mut().zip(&other.im).for_each(|(sum, x)| *sum += x);
    }

    /// `self[target] += conj(x[slot]) y[slot]` over the (slot, slot) pairs of each target.
    ///
    /// Tile by tile of bins, so that what the pairs share stays in the cache.
    #[inline(always)]
    pub fn add_correlations(
        &mut self,
        x: &Spectra,
        y: &Spectra,
        n_targets: usize,
        pairs: impl Fn(usize, usize) -> (usize, usize),
        n_pairs: usize,
    ) {
        for start in (0..self.n_bins).step_by(TILE) {
            let tile = start..(start + TILE).min(self.n_bins);
            for target in 0..n_targets {
                let (re, im) = self.tile_mut(target, &tile);
                for pair in 0..n_pairs {
                    let (slot_x, slot_y) = pairs(target, pair);
                    let ((xr, xi), (yr, yi)) = (x.tile(slot_x, &tile), y.tile(slot_y, &tile));
                    for bin in
                        0..re.len().min(xr.len()).min(xi.len()).min(yr.len()).min(yi.len()).min(im.len())
                    {
                        re[bin] += xr[bin] * yr[bin] + xi[bin] * yi[bin];
                        im[bin] += xr[bin] * yi[bin] - xi[bin] * yr[bin];
                    }
                }
            }
        }
    }

    /// `self[target] += x[slot] y[slot]`.
    #[inline(always)]
    pub fn add_product(&mut self, target: usize, x: (&[f64], &[f64]), y: (&[f64], &[f64])) {
        let (re, im) = self.slot_mut(target);
        let ((xr, xi), (yr, yi)) = (x, y);
        for bin in 0..re.len().min(im.len()).min(xr.len()).min(xi.len()).min(yr.len()).min(yi.len()) {
            re[bin] += xr[bin] * yr[bin] - xi[bin] * yi[bin];
            im[bin] += xr[bin] * yi[bin] + xi[bin] * yr[bin];
        }
    }

    pub fn clear(&mut self) {
        self.re.fill(0.0);
        self.im.fill(0.0);
    }
}

/// Bins that are worked on at a time.
const TILE: usize = 64;
