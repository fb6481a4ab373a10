//! What is written, read back by ourselves and by independent decoders.

#![allow(clippy::unwrap_used, reason = "the panic of a test is its report")]

mod common;

use common::{floats, one_line, read};
use demix_files::FileError;
use demix_files::audio::{
    self, ClipMode, Container, ReadOptions, SampleKind, WriteFormat, WriteReport, rescale_gain,
};
use demix_signal::Waveform;
use ndarray::{Array2, arr2};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use std::path::Path;

const LENGTHS: [usize; 6] = [1, 2, 4095, 4096, 4097, 10_000];

/// White noise between -1 and 1.
fn noise(channels: usize, n: usize) -> Array2<f32> {
    let mut random = ChaCha8Rng::seed_from_u64(1);
    Array2::from_shape_simple_fn((channels, n), || (random.next_u32() as f32 / u32::MAX as f32) * 2.0 - 1.0)
}

fn write(path: &Path, samples: &Array2<f32>, format: WriteFormat) -> WriteReport {
    let report = audio::write(path, &Waveform::new(samples.clone(), 44100), &format).unwrap();
    assert_eq!(report.bytes, std::fs::metadata(path).unwrap().len());
    report
}

fn largest(a: &Array2<f32>, b: &Array2<f32>) -> f32 {
    (a - b).iter().fold(0.0, |most, x| most.max(x.abs()))
}

fn format(container: Container, samples: SampleKind) -> WriteFormat {
    WriteFormat { container, samples, ..WriteFormat::default() }
}

#[test]
fn floats_come_back_bit_by_bit() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.wav");
    for channels in [1, 2, 3, 6, 7, 100] {
        for n in LENGTHS {
            let x = noise(channels, n) * 3.0;
            let report = write(&path, &x, WriteFormat::default());
            assert_eq!((report.clipped_samples, report.gain, report.n_samples), (0, 1.0, n as u64));
            assert_eq!(read(&path).unwrap().waveform.samples, x);
            let mut independent = hound::WavReader::open(&path).unwrap();
            let spec = independent.spec();
            assert_eq!(
                (spec.channels as usize, spec.sample_rate, spec.bits_per_sample),
                (channels, 44100, 32)
            );
            let y: Vec<f32> = independent.samples::<f32>().map(Result::unwrap).collect();
            assert!(y.iter().eq(x.t().iter()), "{channels} {n}");
        }
    }
}

#[test]
fn integers_are_off_by_rounding_and_dither_only() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.wav");
    for (kind, scale, most) in [(SampleKind::Int24, 8388608.0, 0.5), (SampleKind::Int16, 32768.0, 1.5)] {
        for channels in [1, 2, 3, 6] {
            for n in LENGTHS {
                // not quite up to full scale, which is limited
                let x = noise(channels, n) * 0.999;
                let report = write(&path, &x, format(Container::Wav, kind));
                assert_eq!(report.clipped_samples, 0);
                let audio = read(&path).unwrap();
                assert!(largest(&audio.waveform.samples, &x) * scale <= most, "{kind:?} {channels} {n}");
                let mut independent = hound::WavReader::open(&path).unwrap();
                let y: Vec<i32> = independent.samples().map(Result::unwrap).collect();
                let ours = audio.waveform.samples.t().mapv(|x| (x * scale) as i32);
                assert!(y.iter().eq(ours.iter()), "{kind:?} {channels} {n}");
            }
        }
    }
}

#[test]
fn dither_has_no_mean_and_is_reproducible() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.wav");
    let x = noise(1, 100_000) * 0.5;
    let bytes = |seed| {
        let format = WriteFormat { dither_seed: seed, ..format(Container::Wav, SampleKind::Int16) };
        write(&path, &x, format);
        std::fs::read(&path).unwrap()
    };
    let first = bytes(3);
    let error = read(&path).unwrap().waveform.samples - &x;
    let mean = error.mean().unwrap() * 32768.0;
    // 4 standard errors; the variance is 1/4 of a squared step
    assert!(mean.abs() < 4.0 * (0.25f32 / 1e5).sqrt(), "{mean}");
    assert_eq!(first, bytes(3));
    assert_ne!(first, bytes(4));
}

fn flac_by_claxon(path: &Path) -> (Vec<i32>, claxon::metadata::StreamInfo) {
    let mut reader = claxon::FlacReader::open(path).unwrap();
    (reader.samples().map(Result::unwrap).collect(), reader.streaminfo())
}

/// What the file must hold, from the WAV file of the same settings.
fn by_wav(path: &Path, x: &Array2<f32>, kind: SampleKind, scale: f32) -> Vec<i32> {
    let path = path.with_extension("wav");
    write(&path, x, format(Container::Wav, kind));
    read(&path).unwrap().waveform.samples.t().iter().map(|x| (x * scale) as i32).collect()
}

#[test]
fn flac_is_exact_for_two_decoders() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.flac");
    for (kind, bits, scale) in [(SampleKind::Int24, 24, 8388608.0), (SampleKind::Int16, 16, 32768.0)] {
        for channels in [1, 2, 3, 6, 8] {
            for n in LENGTHS {
                let signals = [
                    noise(channels, n),
                    floats(n, channels) * 0.7,
                    Array2::zeros((channels, n)),
                    Array2::from_elem((channels, n), -1.0),
                    Array2::from_shape_fn((channels, n), |(c, t)| if (t + c) % 2 == 0 { 1.0 } else { -1.0 }),
                    Array2::from_shape_fn((channels, n), |(_, t)| if t == n / 2 { -0.3 } else { 0.0 }),
                    noise(channels, n).mapv(|x| (x * 100.0).trunc() / 128.0),
                ];
                for (number, x) in signals.iter().enumerate() {
                    let report = write(&path, x, format(Container::Flac, kind));
                    assert!(report.bytes < 200 + (n * channels * bits / 8 + 8 * channels + 16) as u64);
                    let expected = by_wav(&path, x, kind, scale);
                    let (claxon, info) = flac_by_claxon(&path);
                    assert!(claxon == expected, "claxon: {kind:?} {channels} {n} signal {number}");
                    assert_eq!((info.samples, info.min_block_size), (Some(n as u64), 4096));
                    // symphonia also compares the checksum
                    let audio = read(&path).unwrap();
                    let ours: Vec<i32> =
                        audio.waveform.samples.t().iter().map(|x| (x * scale) as i32).collect();
                    assert!(ours == expected, "symphonia: {kind:?} {channels} {n} signal {number}");
                    assert_eq!(audio.info.bits_per_sample, Some(bits as u32));
                }
            }
        }
    }
}

#[test]
fn flac_of_many_blocks_and_of_any_rate() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.flac");
    // frame numbers of one, two and three bytes
    let x = floats(2050 * 4096 + 17, 1);
    write(&path, &x, format(Container::Flac, SampleKind::Float32));
    assert_eq!(read(&path).unwrap().waveform.samples, x);
    assert_eq!(flac_by_claxon(&path).0.len(), x.len());
    for rate in [1, 7350, 8000, 11025, 44100, 65_537, 96_000, 192_000, 384_000, 655_350] {
        let x = Waveform::new(floats(5000, 2), rate);
        let flac = format(Container::Flac, SampleKind::Int24);
        audio::write(&path, &x, &flac).unwrap();
        assert_eq!(read(&path).unwrap().waveform, x);
        assert_eq!(flac_by_claxon(&path).1.sample_rate, rate);
    }
}

#[test]
fn flac_says_what_it_cannot_hold() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.flac");
    let flac = format(Container::Flac, SampleKind::Int16);
    for (x, part) in [
        (Waveform::new(noise(9, 10), 8000), "it has 9 channels, flac holds 8"),
        (Waveform::new(noise(1, 10), 655_351), "its rate is 655351 Hz, FLAC goes up to 655350 Hz"),
        (Waveform::new(noise(1, 10), 0), "its sample rate is 0 Hz"),
        (Waveform::new(noise(0, 10), 8000), "0 channels"),
        (Waveform::new(noise(2, 0), 8000), "2 channels of 0 samples"),
    ] {
        let error = audio::write(&path, &x, &flac).unwrap_err();
        one_line(&error, &path);
        assert!(error.to_string().contains(part), "{error}");
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn what_is_no_number_is_not_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.wav");
    let mut x = noise(2, 100);
    x[[1, 50]] = f32::NAN;
    let error = audio::write(&path, &Waveform::new(x, 100), &WriteFormat::default()).unwrap_err();
    assert!(matches!(error, FileError::NotFinite { channel: 1, sample: 50, count: 1, .. }), "{error}");
    assert!(!path.exists());
}

#[test]
fn clipping_is_counted_and_only_done_where_asked_or_unavoidable() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.wav");
    let x = arr2(&[[0.5, 2.0, -1.0], [1.0, -4.0, 0.25]]);
    let written = |samples, clip| {
        let report = write(&path, &x, WriteFormat { samples, clip, ..WriteFormat::default() });
        assert_eq!(report.peak, 4.0);
        (read(&path).unwrap().waveform.samples, report.clipped_samples, report.gain)
    };
    assert_eq!(written(SampleKind::Float32, ClipMode::None), (x.clone(), 0, 1.0));
    let clamped = arr2(&[[0.5, 1.0, -1.0], [1.0, -1.0, 0.25]]);
    assert_eq!(written(SampleKind::Float32, ClipMode::Clamp), (clamped.clone(), 2, 1.0));
    assert_eq!(written(SampleKind::Float32, ClipMode::Rescale), (&x * 0.25, 0, 0.25));
    let (y, clipped, _) = written(SampleKind::Int24, ClipMode::None);
    assert!(clipped == 2 && largest(&y, &clamped) <= 1.0 / 8388608.0);
    let (y, clipped, _) = written(SampleKind::Int24, ClipMode::Rescale);
    assert!(clipped == 0 && largest(&y, &(&x * 0.25)) <= 0.5 / 8388608.0);
}

#[test]
fn one_gain_for_all_sources_keeps_their_sum() {
    let folder = tempfile::tempdir().unwrap();
    let sources: Vec<Waveform> =
        [0.3, 1.7, 5.3].iter().map(|peak| Waveform::new(noise(2, 5000) * *peak, 8000)).collect();
    let gain = rescale_gain(&sources);
    let mut sum = Array2::<f32>::zeros((2, 5000));
    for (number, source) in sources.iter().enumerate() {
        let path = folder.path().join(format!("{number}.wav"));
        let format = WriteFormat { clip: ClipMode::Rescale, gain, ..WriteFormat::default() };
        let report = audio::write(&path, source, &format).unwrap();
        assert_eq!(report.gain, gain);
        let written = read(&path).unwrap().waveform;
        assert!(written.peak() <= 1.0);
        sum += &written.samples;
    }
    let mixture = sources.iter().fold(Array2::zeros((2, 5000)), |sum, source| sum + &source.samples);
    // three roundings of numbers below 1, and of the gain
    assert!(largest(&sum, &(mixture * gain)) < 4.0 * f32::EPSILON);
    assert_eq!(rescale_gain(&sources[..1]), 1.0);
    assert_eq!(rescale_gain([]), 1.0);
}

#[test]
fn an_existing_file_survives_a_refused_write() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.flac");
    std::fs::write(&path, "old").unwrap();
    let x = Waveform::new(noise(9, 10), 8000);
    assert!(audio::write(&path, &x, &format(Container::Flac, SampleKind::Int16)).is_err());
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "old");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn the_header_of_24_bits_is_extensible() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.wav");
    for (channels, kind, tag, mask) in [
        (2, SampleKind::Int16, 1, None),
        (2, SampleKind::Float32, 3, None),
        (2, SampleKind::Int24, 0xfffe, Some(3)),
        (6, SampleKind::Int16, 0xfffe, Some(0x3f)),
        (7, SampleKind::Float32, 0xfffe, Some(0)),
    ] {
        write(&path, &noise(channels, 3), format(Container::Wav, kind));
        let bytes = std::fs::read(&path).unwrap();
        assert_eq!(u16::from_le_bytes([bytes[20], bytes[21]]), tag);
        if let Some(mask) = mask {
            assert_eq!(u32::from_le_bytes(bytes[40..44].try_into().unwrap()), mask);
        }
        assert_eq!(u32::from_le_bytes(bytes[4..8].try_into().unwrap()) as usize, bytes.len() - 8);
        assert!(bytes.len().is_multiple_of(2));
        let part = ReadOptions { start: Some(1.0 / 44100.0), duration: None };
        assert_eq!(audio::read(&path, &part).unwrap().waveform.n_samples(), 2);
    }
}
