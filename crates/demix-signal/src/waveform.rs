//! [`Waveform`]: samples over time, one row per channel.

use ndarray::Array2;

/// Sound over time.
///
/// # Example
/// ```
/// use demix_signal::Waveform;
/// let beep = Waveform::mono((0..800).map(|t| (t as f32 * 0.3).sin()).collect(), 8000);
/// assert_eq!((beep.n_channels(), beep.n_samples()), (1, 800));
/// assert_eq!(beep.seconds(), 0.1);
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Waveform {
    /// Amplitudes, shape (channels, samples); full scale is -1..1, larger values are kept.
    ///
    /// Single precision holds 24-bit integers exactly; 32-bit integer and 64-bit float files
    /// are rounded to 24 significant bits (relative error below 6e-8).
    pub samples: Array2<f32>,
    /// Samples per second and channel, in Hz.
    pub sample_rate: u32,
}

impl Waveform {
    /// A waveform of shape (channels, samples).
    pub fn new(samples: Array2<f32>, sample_rate: u32) -> Self {
        Self { samples, sample_rate }
    }

    /// One channel.
    pub fn mono(samples: Vec<f32>, sample_rate: u32) -> Self {
        let n = samples.len();
        let samples = Array2::from_shape_vec((1, n), samples).expect("one row holds every sample");
        Self { samples, sample_rate }
    }

    /// Number of channels (microphones), M.
    pub fn n_channels(&self) -> usize {
        self.samples.nrows()
    }

    /// Number of samples of each channel.
    pub fn n_samples(&self) -> usize {
        self.samples.ncols()
    }

    /// Length in seconds.
    pub fn seconds(&self) -> f64 {
        self.n_samples() as f64 / f64::from(self.sample_rate)
    }

    /// Largest absolute sample; 0 where there is none.
    pub fn peak(&self) -> f32 {
        self.samples.iter().fold(0.0, |peak, x| peak.max(x.abs()))
    }
}
