//! Fixtures of every codec against the signal they were made of.

#![allow(clippy::unwrap_used, reason = "the panic of a test is its report")]

mod common;

use common::{N, error_of, fixture, floats, read, read_bytes, signal, snr, wav16};
use demix_files::FileError;
use demix_files::audio::{self, ReadOptions, SampleFormat};
use ndarray::s;

/// Writes what the fixtures are encoded from; see tests/fixtures/README.md.
#[test]
#[ignore = "only for making the fixtures again"]
fn write_sources() {
    std::fs::write(std::env::temp_dir().join("stereo.wav"), wav16(&signal(N, 2), 44100)).unwrap();
    std::fs::write(std::env::temp_dir().join("mono.wav"), wav16(&signal(N, 1), 22050)).unwrap();
}

#[test]
fn lossless_files_are_exact() {
    for (name, channels, rate, container, codec) in
        [("stereo.flac", 2, 44100, "FLAC", "FLAC"), ("mono-alac.m4a", 1, 22050, "M4A", "ALAC")]
    {
        let audio = read(&fixture(name)).unwrap();
        assert_eq!(audio.waveform.samples, floats(N, channels), "{name}");
        assert_eq!(audio.waveform.sample_rate, rate);
        let info = audio::info(&fixture(name)).unwrap();
        assert_eq!(info, audio.info);
        assert_eq!((info.container.as_str(), info.codec.as_str()), (container, codec));
        assert_eq!((info.n_samples, info.channels), (N as u64, channels));
        assert_eq!((info.sample_format, info.bits_per_sample), (SampleFormat::Integer, Some(16)), "{name}");
        assert!(audio.warnings.is_empty());
    }
}

#[test]
fn lossy_files_have_the_exact_length_and_no_delay() {
    for (name, channels, rate, codec) in [
        ("stereo.mp3", 2, 44100, "MP3"),
        ("mono-vbr.mp3", 1, 22050, "MP3"),
        ("stereo.ogg", 2, 44100, "Vorbis"),
        ("stereo.m4a", 2, 44100, "AAC"),
    ] {
        let audio = read(&fixture(name)).unwrap();
        let (reference, decoded) = (floats(N, channels), &audio.waveform.samples);
        assert_eq!(decoded.dim(), (channels, N), "{name}");
        assert_eq!((audio.waveform.sample_rate, audio.info.codec.as_str()), (rate, codec));
        assert_eq!(audio::info(&fixture(name)).unwrap(), audio.info);
        assert_eq!((audio.info.sample_format, audio.info.bits_per_sample), (SampleFormat::Lossy, None));
        // ffmpeg's AAC encoder starts badly, its own decoder says so too: not the first frame
        let settled = s![.., 1024..];
        let (reference, decoded) = (reference.slice(settled), decoded.slice(settled));
        let here = snr(&reference.to_owned(), &decoded.to_owned());
        assert!(here > 20.0, "{name}: {here:.1} dB");
        // one sample earlier or later fits worse
        let (early, late) = (s![.., ..-1], s![.., 1..]);
        for (a, b) in [(early, late), (late, early)] {
            let shifted = snr(&reference.slice(a).to_owned(), &decoded.slice(b).to_owned());
            assert!(shifted < here - 3.0, "{name}: {here:.1} dB, shifted {shifted:.1} dB");
        }
    }
}

#[test]
fn files_that_do_not_state_their_length_are_decoded_whole() {
    // whole frames, and the encoder's delay stays in: nothing in the file says what to cut
    for (name, frame) in [("mono-headless.mp3", 576), ("mono.aac", 1024)] {
        let audio = read(&fixture(name)).unwrap();
        let n = audio.waveform.n_samples();
        assert!(n > N && n < N + 5 * frame && n.is_multiple_of(frame), "{name}: {n}");
        assert_eq!(audio::info(&fixture(name)).unwrap(), audio.info, "{name}");
        assert_eq!(audio.info.n_samples, n as u64);
    }
}

#[test]
fn a_part_is_a_part_of_the_whole() {
    for name in [
        "stereo.flac",
        "stereo.mp3",
        "stereo.ogg",
        "stereo.m4a",
        "mono-alac.m4a",
        "mono-vbr.mp3",
        "mono-headless.mp3",
        "mono.aac",
    ] {
        let whole = read(&fixture(name)).unwrap();
        let n = whole.waveform.n_samples();
        let rate = f64::from(whole.waveform.sample_rate);
        for (start, end) in [(0, 1), (1, 4000), (4095, 4097), (5000, n), (n - 1, n)] {
            let options =
                ReadOptions { start: Some(start as f64 / rate), duration: Some((end - start) as f64 / rate) };
            let part = audio::read(&fixture(name), &options).unwrap();
            assert_eq!(part.waveform.samples, whole.waveform.samples.slice(s![.., start..end]), "{name}");
            assert_eq!(part.info, whole.info, "{name}");
            assert!(part.warnings.is_empty());
        }
        let open = ReadOptions { start: Some(5000.0 / rate), duration: None };
        let part = audio::read(&fixture(name), &open).unwrap();
        assert_eq!(part.waveform.samples, whole.waveform.samples.slice(s![.., 5000..]), "{name}");
        let long = ReadOptions { start: None, duration: Some(60.0) };
        let part = audio::read(&fixture(name), &long).unwrap();
        assert_eq!((part.waveform.n_samples(), part.warnings.len()), (n, 1), "{name}");
        let late = ReadOptions { start: Some(60.0), duration: None };
        let error = audio::read(&fixture(name), &late).unwrap_err();
        assert!(matches!(error, FileError::StartBeyondEnd { start: 60.0, .. }), "{name}: {error}");
    }
}

#[test]
fn truncated_files_are_refused() {
    for name in ["stereo.flac", "stereo.mp3", "mono-vbr.mp3", "stereo.ogg", "stereo.m4a", "mono-alac.m4a"] {
        let bytes = std::fs::read(fixture(name)).unwrap();
        for tenths in 0..10 {
            let cut = &bytes[..1 + bytes.len() * tenths / 10];
            let error = error_of(cut, name);
            // the index of M4A files is at their end, the only page of this Ogg file is its last
            if tenths == 9 && !name.ends_with("m4a") && !name.ends_with("ogg") {
                assert!(error.contains(&format!("promises {N} samples per channel")), "{name}: {error}");
            }
        }
        assert!(read_bytes(&bytes[..bytes.len() - 1], name).is_err(), "{name} less 1 byte");
    }
}

#[test]
fn flac_is_checked_against_its_checksum() {
    let mut bytes = std::fs::read(fixture("stereo.flac")).unwrap();
    bytes[30] ^= 1;
    assert!(error_of(&bytes, "a.flac").contains("checksum"));
}

#[test]
fn the_content_decides_not_the_name() {
    let bytes = std::fs::read(fixture("stereo.ogg")).unwrap();
    assert_eq!(read_bytes(&bytes, "music.mp3").unwrap().info.codec, "Vorbis");
    let bytes = std::fs::read(fixture("stereo.mp3")).unwrap();
    assert_eq!(read_bytes(&bytes, "music.wav").unwrap().info.codec, "MP3");
}

#[test]
fn a_tag_before_an_mp3_is_passed_over() {
    let tag = [&b"ID3\x03\0\0\0\0\x02\x00"[..], &[0; 256]].concat();
    let bytes = [tag, std::fs::read(fixture("stereo.mp3")).unwrap()].concat();
    assert_eq!(read_bytes(&bytes, "a.mp3").unwrap().waveform.n_samples(), N);
}

#[test]
fn what_is_passed_over_in_a_stream_without_length_is_told() {
    let bytes = std::fs::read(fixture("mono-headless.mp3")).unwrap();
    assert!(read_bytes(&bytes, "a.mp3").unwrap().warnings.is_empty());
    let cut = read_bytes(&bytes[..bytes.len() - 10], "a.mp3").unwrap();
    assert!(cut.warnings[0].contains("passed over"), "{:?}", cut.warnings);
}
