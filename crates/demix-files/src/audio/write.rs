//! Writing waveforms: 32-bit float or integer WAV, and FLAC.

use std::io::{BufWriter, Write};
use std::path::Path;

use demix_signal::Waveform;
use serde::{Deserialize, Serialize};

use super::quantise::Quantiser;
use super::{check_finite, flac, wav};
use crate::FileError;
use crate::atomic::AtomicFile;

/// The kind of file to write.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Container {
    /// WAV; RF64 above 4 GiB.
    #[default]
    Wav,
    /// FLAC, lossless for integers: at most 8 channels, 655350 Hz.
    Flac,
}

impl Container {
    /// The usual ending of file names, without the dot.
    pub fn extension(self) -> &'static str {
        match self {
            Self::Wav => "wav",
            Self::Flac => "flac",
        }
    }
}

/// How to store samples.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SampleKind {
    /// 32-bit floats, exactly the samples of the waveform. FLAC has no floats: there it means 24 bits.
    #[default]
    Float32,
    /// 24-bit integers, rounded without dither (the error is 144 dB below full scale).
    Int24,
    /// 16-bit integers, with triangular dither from a seeded generator.
    Int16,
}

/// What to do with samples beyond full scale (-1..1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ClipMode {
    /// Nothing: floats keep them, integers are limited to what they can hold.
    #[default]
    None,
    /// They are limited to full scale.
    Clamp,
    /// The waveform is divided by its peak if that is above 1. Sources that shall still sum need one
    /// gain for all of them: [`WriteFormat::gain`] from [`rescale_gain`].
    Rescale,
}

/// How to write a waveform.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WriteFormat {
    /// The kind of file.
    pub container: Container,
    /// How to store samples.
    pub samples: SampleKind,
    /// What to do beyond full scale.
    pub clip: ClipMode,
    /// Factor on every sample, before anything else; see [`rescale_gain`].
    pub gain: f32,
    /// Seed of the dither of 16-bit files: the same seed gives the same bytes. Sources that are to
    /// be summed get different seeds, lest their dither adds up.
    pub dither_seed: u64,
}

impl Default for WriteFormat {
    fn default() -> Self {
        Self {
            container: Container::Wav,
            samples: SampleKind::Float32,
            clip: ClipMode::None,
            gain: 1.0,
            dither_seed: 0,
        }
    }
}

/// What was written.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct WriteReport {
    /// Largest absolute sample of the waveform as given.
    pub peak: f32,
    /// Factor that was applied to every sample: the gain, and the rescaling.
    pub gain: f32,
    /// Samples (of all channels) beyond full scale that were limited to it.
    pub clipped_samples: u64,
    /// Samples per channel.
    pub n_samples: u64,
    /// Size of the file.
    pub bytes: u64,
}

/// The one gain that brings all of `waveforms` within full scale: 1 / the largest peak, or 1 where
/// none is above 1. Sources written with it still sum, to the mixture times this gain.
pub fn rescale_gain<'a>(waveforms: impl IntoIterator<Item = &'a Waveform>) -> f32 {
    let peak = waveforms.into_iter().map(Waveform::peak).fold(1.0, f32::max);
    1.0 / peak
}

/// Writes a waveform; the file appears whole or not at all.
///
/// The extra memory is a block of samples, whatever the length.
///
/// # Errors
/// [`FileError`] when a sample is not finite, when the waveform does not fit the format (no sample
/// or channel, too many channels, a rate that the format cannot state), or when the disk refuses.
pub fn write(path: &Path, waveform: &Waveform, format: &WriteFormat) -> Result<WriteReport, FileError> {
    check(path, waveform, format)?;
    let peak = waveform.peak();
    let mut gain = format.gain;
    if format.clip == ClipMode::Rescale && peak * gain.abs() > 1.0 {
        gain = gain.signum() / peak;
    }
    let limit = format.clip != ClipMode::None;
    let is_float = format.samples == SampleKind::Float32 && format.container == Container::Wav;
    let mut prepared = Prepared { waveform, gain, limit: limit || !is_float, clipped: 0 };

    let refused = |error| FileError::from_io(path, "write it", error);
    let mut file = BufWriter::with_capacity(1 << 18, AtomicFile::create(path)?);
    let bytes = match format.container {
        Container::Wav => write_wav(&mut file, &mut prepared, format).map_err(refused)?,
        Container::Flac => {
            let bits = if format.samples == SampleKind::Int16 { 16 } else { 24 };
            flac::write(&mut file, &mut prepared, bits, quantiser(format)).map_err(refused)?
        }
    };
    let file = file.into_inner().map_err(|error| refused(error.into_error()))?;
    file.commit()?;
    Ok(WriteReport {
        peak,
        gain,
        clipped_samples: prepared.clipped,
        n_samples: waveform.n_samples() as u64,
        bytes,
    })
}

fn check(path: &Path, waveform: &Waveform, format: &WriteFormat) -> Result<(), FileError> {
    let cannot =
        |what: String, remedy| Err(FileError::CannotWrite { path: path.to_path_buf(), what, remedy });
    let (channels, rate) = (waveform.n_channels(), waveform.sample_rate);
    if channels == 0 || waveform.n_samples() == 0 {
        let what = format!("it has {channels} channels of {} samples", waveform.n_samples());
        return cannot(what, "there is nothing to hear in it");
    }
    if rate == 0 {
        return cannot("its sample rate is 0 Hz".to_string(), "give the true rate");
    }
    if !format.gain.is_finite() {
        return cannot(format!("the gain is {}", format.gain), "give a finite gain");
    }
    // the byte count of one sample of all channels has 16 bits
    let most = match (format.container, format.samples) {
        (Container::Flac, _) => 8,
        (_, SampleKind::Float32) => 65535 / 4,
        (_, SampleKind::Int24) => 65535 / 3,
        (_, SampleKind::Int16) => 65535 / 2,
    };
    if channels > most {
        let what = format!("it has {channels} channels, {} holds {most}", format.container.extension());
        return cannot(what, "write WAV, or fewer channels");
    }
    if format.container == Container::Flac && rate > flac::MAX_RATE {
        let what = format!("its rate is {rate} Hz, FLAC goes up to {} Hz", flac::MAX_RATE);
        return cannot(what, "write WAV");
    }
    check_finite(path, &waveform.samples, 0, rate, "nothing was written; choose other settings")
}

fn quantiser(format: &WriteFormat) -> Quantiser {
    match format.samples {
        SampleKind::Int16 => Quantiser::int16(format.dither_seed),
        SampleKind::Float32 | SampleKind::Int24 => Quantiser::int24(),
    }
}

/// A waveform with gain and limits applied sample by sample.
pub(super) struct Prepared<'a> {
    pub(super) waveform: &'a Waveform,
    gain: f32,
    limit: bool,
    clipped: u64,
}

impl Prepared<'_> {
    pub(super) fn sample(&mut self, channel: usize, sample: usize) -> f32 {
        let mut x = self.waveform.samples[[channel, sample]];
        if self.gain != 1.0 {
            // rounded once, so that peak * (1 / peak) is 1
            x = (f64::from(x) * f64::from(self.gain)) as f32;
        }
        if self.limit && x.abs() > 1.0 {
            self.clipped += 1;
            x = x.signum();
        }
        x
    }
}

fn write_wav(file: &mut impl Write, prepared: &mut Prepared, format: &WriteFormat) -> std::io::Result<u64> {
    let (channels, n) = (prepared.waveform.n_channels(), prepared.waveform.n_samples());
    let (bits, float) = match format.samples {
        SampleKind::Float32 => (32, true),
        SampleKind::Int24 => (24, false),
        SampleKind::Int16 => (16, false),
    };
    let data_bytes = (n * channels) as u64 * u64::from(bits / 8);
    let header = wav::header(channels as u16, prepared.waveform.sample_rate, bits, float, data_bytes);
    file.write_all(&header)?;
    let mut quantiser = quantiser(format);
    for sample in 0..n {
        for channel in 0..channels {
            let x = prepared.sample(channel, sample);
            match format.samples {
                SampleKind::Float32 => file.write_all(&x.to_le_bytes())?,
                SampleKind::Int24 => file.write_all(&quantiser.quantise(x).to_le_bytes()[..3])?,
                SampleKind::Int16 => file.write_all(&quantiser.quantise(x).to_le_bytes()[..2])?,
            }
        }
    }
    // chunks have an even length
    let pad = data_bytes & 1;
    file.write_all(&[0][..pad as usize])?;
    Ok(header.len() as u64 + data_bytes + pad)
}
