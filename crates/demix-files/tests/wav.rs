//! WAV files made byte by byte, of every sample format, true and false.

#![allow(clippy::unwrap_used, reason = "the panic of a test is its report")]

mod common;

use common::{chunk, error_of, floats, fmt, one_line, read_bytes, riff, signal, wav16};
use demix_files::FileError;
use demix_files::audio::{self, ReadOptions, SampleFormat};
use ndarray::arr2;
use std::path::Path;

const GUID_TAIL: [u8; 14] = [0, 0, 0, 0, 0x10, 0, 0x80, 0, 0, 0xaa, 0, 0x38, 0x9b, 0x71];

fn extensible(tag: u16, channels: u16, rate: u32, bits: u16, valid: u16) -> Vec<u8> {
    let mut content = fmt(0xfffe, channels, rate, bits)[8..].to_vec();
    content.extend(22u16.to_le_bytes());
    content.extend(valid.to_le_bytes());
    content.extend(0u32.to_le_bytes());
    content.extend(tag.to_le_bytes());
    content.extend(GUID_TAIL);
    chunk(b"fmt ", &content)
}

#[test]
fn every_sample_format() {
    let expected = arr2(&[[0.0, 0.5], [-1.0, -0.25]]);
    let u8s = vec![128u8, 0, 192, 96];
    let i16s: Vec<u8> = [0i16, -32768, 16384, -8192].iter().flat_map(|x| x.to_le_bytes()).collect();
    let i24s: Vec<u8> =
        [0i32, -8388608, 4194304, -2097152].iter().flat_map(|x| x.to_le_bytes()[..3].to_vec()).collect();
    let i32s: Vec<u8> = [0, i32::MIN, 1 << 30, -(1 << 29)].iter().flat_map(|x| x.to_le_bytes()).collect();
    let f32s: Vec<u8> = [0f32, -1.0, 0.5, -0.25].iter().flat_map(|x| x.to_le_bytes()).collect();
    let f64s: Vec<u8> = [0f64, -1.0, 0.5, -0.25].iter().flat_map(|x| x.to_le_bytes()).collect();
    for (tag, bits, data) in
        [(1, 8, u8s), (1, 16, i16s), (1, 24, i24s), (1, 32, i32s), (3, 32, f32s), (3, 64, f64s)]
    {
        for format in [fmt(tag, 2, 48000, bits), extensible(tag, 2, 48000, bits, bits)] {
            let bytes = riff(&[format, chunk(b"fact", &[0; 4]), chunk(b"data", &data)]);
            let audio = read_bytes(&bytes, "a.wav").unwrap();
            assert_eq!(audio.waveform.samples, expected, "{tag} {bits}");
            let info = audio.info;
            assert_eq!((info.container.as_str(), info.codec.as_str()), ("WAV", "PCM"));
            assert_eq!((info.sample_rate, info.channels, info.n_samples), (48000, 2, 2));
            assert_eq!(info.bits_per_sample, Some(bits.into()));
            let kind = if tag == 3 { SampleFormat::Float } else { SampleFormat::Integer };
            assert_eq!(info.sample_format, kind);
            assert!(audio.warnings.is_empty());
        }
    }
}

#[test]
fn other_chunks_are_passed_over_with_their_pad_byte() {
    let data = chunk(b"data", &[0, 0x40]);
    let bytes = riff(&[chunk(b"bext", b"odd"), fmt(1, 1, 8000, 16), chunk(b"LIST", b"x"), data]);
    assert_eq!(read_bytes(&bytes, "a.wav").unwrap().waveform.samples, arr2(&[[0.5]]));
}

#[test]
fn twenty_bits_are_the_upper_ones_of_three_bytes() {
    let data: Vec<u8> = (1i32 << 22).to_le_bytes()[..3].to_vec();
    for format in [fmt(1, 1, 8000, 20), extensible(1, 1, 8000, 24, 20)] {
        let audio = read_bytes(&riff(&[format, chunk(b"data", &data)]), "a.wav").unwrap();
        assert_eq!(audio.waveform.samples, arr2(&[[0.5]]));
    }
}

#[test]
fn any_number_of_channels_and_any_rate() {
    for (channels, rate) in [(1, 1), (3, 11025), (17, 44100), (255, 4_000_000)] {
        let audio = read_bytes(&wav16(&signal(10, channels), rate), "a.wav").unwrap();
        assert_eq!(audio.waveform.samples, floats(10, channels));
        assert_eq!(audio.waveform.sample_rate, rate);
    }
}

fn rf64(sizes: [u64; 3], data_size: u32, data: &[u8]) -> Vec<u8> {
    let sizes: Vec<u8> = sizes.iter().flat_map(|x| x.to_le_bytes()).chain([0; 4]).collect();
    let mut bytes = [&b"RF64"[..], &[0xff; 4], b"WAVE"].concat();
    bytes.extend(chunk(b"ds64", &sizes));
    bytes.extend(fmt(1, 1, 8000, 16));
    bytes.extend(b"data");
    bytes.extend(data_size.to_le_bytes());
    bytes.extend(data);
    bytes
}

#[test]
fn rf64_takes_its_sizes_from_ds64() {
    // an odd chunk behind the data, which the size in ds64 keeps out
    let behind = chunk(b"LIST", b"abc");
    let data = [&[0, 0x40, 0, 0xc0][..], &behind].concat();
    let bytes = rf64([0, 4, 2], u32::MAX, &data);
    let audio = read_bytes(&bytes, "a.wav").unwrap();
    assert_eq!(audio.waveform.samples, arr2(&[[0.5, -0.5]]));
    assert_eq!(audio.info.container, "RF64");
    let error = error_of(&rf64([0, 8_000_000_000, 0], u32::MAX, &data), "a.wav");
    assert!(error.contains("promises 4000000000 samples per channel, the file holds 8"), "{error}");
    let error = error_of(&rf64([0, u64::MAX - 1, 0], u32::MAX, &data), "a.wav");
    assert!(error.contains("truncated"), "{error}");
}

#[test]
fn a_streamed_file_is_read_up_to_its_end() {
    let plain = wav16(&signal(100, 2), 8000);
    for (riff_size, data_size) in
        [(u32::MAX, u32::MAX), (0, 0), (36, 0), (u32::MAX, 0), (0x7fff_f024, 0x7fff_f000)]
    {
        let mut bytes = plain.clone();
        bytes[4..8].copy_from_slice(&riff_size.to_le_bytes());
        bytes[40..44].copy_from_slice(&data_size.to_le_bytes());
        let audio = read_bytes(&bytes, "a.wav").unwrap();
        assert_eq!(audio.waveform.samples, floats(100, 2), "{riff_size:x} {data_size:x}");
        assert_eq!(audio.warnings.len(), 1);
    }
    let audio = read_bytes(&rf64([0, 0, 0], u32::MAX, &[0, 0x40]), "a.wav").unwrap();
    assert_eq!(audio.waveform.samples, arr2(&[[0.5]]));
    // half a sample at the end is told
    let mut bytes = plain.clone();
    bytes[40..44].fill(0xff);
    bytes.pop();
    let audio = read_bytes(&bytes, "a.wav").unwrap();
    assert_eq!((audio.waveform.n_samples(), audio.warnings.len()), (99, 2));
}

#[test]
fn truncation_names_both_numbers() {
    let bytes = wav16(&signal(1000, 2), 8000);
    let error = error_of(&bytes[..44 + 4 * 300 + 1], "a.wav");
    assert_eq!(
        error,
        "truncated: the header promises 1000 samples per channel, the file holds 300; copy or download it again"
    );
    for n in 0..bytes.len() {
        assert!(read_bytes(&bytes[..n], "a.wav").is_err(), "{n} bytes");
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.wav");
    std::fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
    let error = audio::info(&path).unwrap_err();
    assert!(matches!(error, FileError::Truncated { promised: 1000, found: 999, .. }), "{error}");
}

#[test]
fn absurd_headers_are_refused() {
    let good = wav16(&signal(10, 2), 8000);
    let set = |at: usize, value: &[u8]| {
        let mut bytes = good.clone();
        bytes[at..at + value.len()].copy_from_slice(value);
        error_of(&bytes, "a.wav")
    };
    for (error, part) in [
        (set(22, &[0, 0]), "0 channels"),
        (set(24, &[0; 4]), "sample rate of 0 Hz"),
        (set(32, &[0, 0]), "0 bytes for 2 channels"),
        (set(32, &[3, 0]), "3 bytes for 2 channels"),
        (set(32, &[2, 0]), "16 bits per sample in 1 bytes"),
        (set(34, &[0, 0]), "0 bits per sample in 2 bytes"),
        (set(34, &[32, 0]), "32 bits per sample in 2 bytes"),
        (set(20, &[3, 0]), "16-bit floats"),
        (set(20, &[2, 0]), "ADPCM"),
        (set(20, &[0x55, 0]), "MP3"),
        (set(20, &[0xfe, 0xff]), "extensible fmt chunk has 16 bytes"),
        (set(40, &[0xfe, 0xff, 0xff, 0xff]), "promises 1073741823 samples per channel, the file holds 10"),
        (set(16, &[0xf0, 0xff, 0xff, 0xff]), "truncated"),
        (set(36, b"junk"), "no data chunk"),
        (set(12, b"junk"), "data chunk comes before its fmt chunk"),
        (set(8, b"AVI "), "not audio"),
        (set(0, b"RIFX"), "big-endian"),
    ] {
        assert!(error.contains(part), "{part}: {error}");
    }
    let error = error_of(&riff(&[fmt(1, 1, 8000, 16)[..20].to_vec()]), "a.wav");
    assert!(error.contains("truncated") || error.contains("damaged"), "{error}");
}

#[test]
fn no_sample_is_an_error() {
    let empty = riff(&[fmt(1, 1, 8000, 16), chunk(b"data", &[])]);
    assert!(error_of(&empty, "a.wav").contains("holds 0 samples"));
    let with_tail = riff(&[fmt(1, 1, 8000, 16), chunk(b"data", &[]), chunk(b"LIST", &[0; 8])]);
    assert!(error_of(&with_tail, "a.wav").contains("holds 0 samples"));
}

#[test]
fn the_first_sample_that_is_no_number_is_named() {
    let mut x = vec![0f32; 2 * 8000];
    x[2 * 4000 + 1] = f32::NAN;
    x[2 * 4001] = f32::NEG_INFINITY;
    x[2 * 7000] = f32::INFINITY;
    let data: Vec<u8> = x.iter().flat_map(|x| x.to_le_bytes()).collect();
    let bytes = riff(&[fmt(3, 2, 8000, 32), chunk(b"data", &data)]);
    let error = error_of(&bytes, "a.wav");
    let expected = "3 of its samples are not finite numbers, the first in channel 2 at sample 4000 (0.500 s)";
    assert!(error.starts_with(expected), "{error}");
    // the index counts from the beginning of the file; a part without them is read
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.wav");
    std::fs::write(&path, bytes).unwrap();
    let part =
        |start, duration| audio::read(&path, &ReadOptions { start: Some(start), duration: Some(duration) });
    assert!(matches!(part(0.8, 0.2), Err(FileError::NotFinite { channel: 0, sample: 7000, count: 1, .. })));
    assert_eq!(part(0.6, 0.2).unwrap().waveform.n_samples(), 1600);
}

#[test]
fn a_part_is_read_from_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.wav");
    std::fs::write(&path, wav16(&signal(50_000, 3), 1000)).unwrap();
    let all = floats(50_000, 3);
    let read = |start, duration| audio::read(&path, &ReadOptions { start, duration });
    let part = read(Some(12.345), Some(30.0)).unwrap();
    assert_eq!(part.waveform.samples, all.slice(ndarray::s![.., 12345..42345]));
    assert_eq!(part.info.n_samples, 50_000);
    let end = read(Some(49.0), Some(3.0)).unwrap();
    assert_eq!((end.waveform.n_samples(), end.warnings.len()), (1000, 1));
    assert_eq!(end.warnings[0], "asked for 3 s, the file has 1.000 s from there on");
    for (start, duration) in
        [(Some(-1.0), None), (Some(f64::NAN), None), (None, Some(0.0)), (None, Some(f64::INFINITY))]
    {
        let error = read(start, duration).unwrap_err();
        assert!(matches!(error, FileError::BadPart { .. }), "{error}");
    }
    let error = read(Some(50.0), None).unwrap_err();
    assert!(error.to_string().ends_with("start 50 s is beyond the end at 50.000 s; choose an earlier start"));
    assert!(read(Some(1e300), None).is_err());
}

#[test]
fn what_is_no_audio_says_what_it_is() {
    assert!(matches!(read_bytes(b"", "a.wav"), Err(FileError::Empty { .. })));
    for (bytes, part) in [
        (&b"Dear reader,\nthis is a letter."[..], "text"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "PNG"),
        (b"\0\x01\x02\xff\xfe\x80\x81\x82\x83\x84", "unknown bytes"),
        (b"DEMIXDIC\x01\0\0\0", "dictionary"),
        (b"FORM\0\0\0\0AIFF", "AIFF"),
        (b"RIFF\0\0", "truncated"),
    ] {
        let error = error_of(bytes, "a.wav");
        assert!(error.contains(part), "{part}: {error}");
    }
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("none.wav");
    for (path, part) in [
        (folder.path(), "is a folder"),
        (&missing, "no such file"),
        (Path::new("/dev/null"), "not a regular file"),
    ] {
        for error in [audio::read(path, &ReadOptions::default()).unwrap_err(), audio::info(path).unwrap_err()]
        {
            one_line(&error, path);
            assert!(error.to_string().contains(part), "{error}");
        }
    }
}

#[cfg(unix)]
#[test]
fn a_file_without_permission_is_named() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.wav");
    std::fs::write(&path, wav16(&signal(10, 1), 8000)).unwrap();
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o000)).unwrap();
    if std::fs::File::open(&path).is_ok() {
        return; // the administrator may read everything
    }
    let error = common::read(&path).unwrap_err();
    assert!(matches!(error, FileError::NoPermission { .. }), "{error}");
}

#[test]
fn files_of_one_channel_are_joined() {
    let folder = tempfile::tempdir().unwrap();
    let x = signal(100, 3);
    let write = |name: &str, bytes: Vec<u8>| {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    };
    let paths: Vec<_> = (0..3).map(|c| write(&format!("{c}.wav"), wav16(&x[c..=c], 8000))).collect();
    let joined = audio::join(&paths, &ReadOptions::default()).unwrap();
    assert_eq!(joined.waveform.samples, floats(100, 3));
    assert_eq!(joined.info.channels, 3);
    let part = ReadOptions { start: Some(0.005), duration: Some(0.005) };
    let joined = audio::join(&paths, &part).unwrap();
    assert_eq!(joined.waveform.samples, floats(100, 3).slice(ndarray::s![.., 40..80]));

    let rate = write("rate.wav", wav16(&x[..1], 16000));
    let long = write("long.wav", wav16(&signal(101, 1), 8000));
    let stereo = write("stereo.wav", wav16(&x[..2], 8000));
    let join = |other: &std::path::PathBuf| {
        audio::join(&[paths[0].clone(), other.clone()], &ReadOptions::default()).unwrap_err().to_string()
    };
    assert!(join(&rate).contains("has sample rate (Hz) 16000, but") && join(&rate).contains("has 8000;"));
    assert!(join(&long).contains("has length (samples) 101, but") && join(&long).contains("has 100;"));
    assert!(join(&stereo).contains("has 2 channels"));
    assert!(audio::join(&[], &ReadOptions::default()).is_err());
}
