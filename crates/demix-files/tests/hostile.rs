//! Damaged files of every format: an error or sound, never a panic, never memory for a claim.

#![allow(clippy::unwrap_used, reason = "the panic of a test is its report")]

mod common;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use common::{fixture, one_line, signal, wav16};
use demix_files::audio::{self, ReadOptions};
use demix_files::identify;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

const FIXTURES: [&str; 8] = [
    "stereo.flac",
    "stereo.mp3",
    "stereo.ogg",
    "stereo.m4a",
    "mono-alac.m4a",
    "mono-vbr.mp3",
    "mono-headless.mp3",
    "mono.aac",
];

fn sources() -> Vec<(String, Vec<u8>)> {
    let fixtures = FIXTURES.iter().map(|name| (name.to_string(), std::fs::read(fixture(name)).unwrap()));
    fixtures.chain([("a.wav".to_string(), wav16(&signal(500, 2), 8000))]).collect()
}

/// Reads `bytes` every way there is; what comes out must be sound or one line.
fn survive(folder: &Path, name: &str, bytes: &[u8]) {
    let path = folder.join(name);
    std::fs::write(&path, bytes).unwrap();
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        let part = ReadOptions { start: Some(0.01), duration: Some(0.01) };
        for options in [ReadOptions::default(), part] {
            match audio::read(&path, &options) {
                Ok(audio) => {
                    assert!(audio.waveform.n_samples() > 0 && audio.waveform.sample_rate > 0);
                    assert!(audio.waveform.samples.iter().all(|x| x.is_finite()));
                    assert_eq!(audio.info.channels, audio.waveform.n_channels());
                }
                Err(error) => one_line(&error, &path),
            }
        }
        if let Err(error) = audio::info(&path) {
            one_line(&error, &path);
        }
        identify(&path).ok();
    }));
    if outcome.is_err() {
        let kept = std::env::temp_dir().join(format!("hostile-{name}"));
        std::fs::copy(&path, &kept).unwrap();
        panic!("{name} panicked; the file is kept as {}", kept.display());
    }
}

/// Address space of this process at its largest, in bytes: also what was asked for but not used.
#[cfg(target_os = "linux")]
fn peak_memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmPeak:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

#[cfg(not(target_os = "linux"))]
fn peak_memory() -> u64 {
    0
}

/// Threads of the test harness map 64 MiB arenas each, and a short stream may decode to some MB.
const MEMORY: u64 = 1 << 30;

#[derive(Clone, Debug)]
enum Damage {
    Flip(prop::sample::Index, u8),
    Set32(prop::sample::Index, u32),
    Cut(prop::sample::Index),
    Remove(prop::sample::Index, usize),
    Repeat(prop::sample::Index, usize),
}

fn damage() -> impl Strategy<Value = Damage> {
    let at = any::<prop::sample::Index>;
    prop_oneof![
        8 => (at(), 1u8..).prop_map(|(at, flip)| Damage::Flip(at, flip)),
        4 => (at(), prop::sample::select(vec![0, 1, 0x7fff_ffff, 0x8000_0000, u32::MAX, 0xffff]))
            .prop_map(|(at, value)| Damage::Set32(at, value)),
        1 => at().prop_map(Damage::Cut),
        1 => (at(), 1usize..500).prop_map(|(at, n)| Damage::Remove(at, n)),
        1 => (at(), 1usize..500).prop_map(|(at, n)| Damage::Repeat(at, n)),
    ]
}

fn apply(bytes: &mut Vec<u8>, damage: &Damage, head: bool) {
    // headers are short, and where it hurts most
    let within = if head { bytes.len().min(200) } else { bytes.len() };
    if within == 0 {
        return;
    }
    match damage {
        Damage::Flip(at, flip) => bytes[at.index(within)] ^= flip,
        Damage::Set32(at, value) => {
            let at = at.index(within);
            let end = bytes.len().min(at + 4);
            bytes[at..end].copy_from_slice(&value.to_be_bytes()[..end - at]);
        }
        Damage::Cut(at) => bytes.truncate(at.index(within)),
        Damage::Remove(at, n) => {
            let at = at.index(within);
            bytes.drain(at..bytes.len().min(at + n));
        }
        Damage::Repeat(at, n) => {
            let at = at.index(within);
            let again = bytes[at..bytes.len().min(at + n)].to_vec();
            bytes.splice(at..at, again);
        }
    }
}

#[test]
fn random_damage() {
    let before = peak_memory();
    let folder = tempfile::tempdir().unwrap();
    // more by hand: DAMAGED_FILES=100000 cargo test -p demix-files --test hostile
    let cases = std::env::var("DAMAGED_FILES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(150);
    for (name, bytes) in sources() {
        let config = Config { cases, failure_persistence: None, ..Config::default() };
        let random = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
        TestRunner::new_with_rng(config, random)
            .run(&(prop::collection::vec(damage(), 1..5), any::<bool>()), |(damages, head)| {
                let mut bytes = bytes.clone();
                damages.iter().for_each(|damage| apply(&mut bytes, damage, head));
                survive(folder.path(), &name, &bytes);
                Ok(())
            })
            .unwrap();
    }
    let grown = peak_memory() - before;
    assert!(grown < MEMORY, "{grown} bytes");
}

#[test]
fn every_byte_of_the_headers() {
    let before = peak_memory();
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes) in sources() {
        for at in 0..bytes.len().min(120) {
            for value in [0, 0x7f, 0x80, 0xff] {
                let mut bytes = bytes.clone();
                bytes[at] = value;
                survive(folder.path(), &name, &bytes);
            }
        }
    }
    let grown = peak_memory() - before;
    assert!(grown < MEMORY, "{grown} bytes");
}

#[test]
fn every_truncation_of_a_header_and_some_of_the_rest() {
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes) in sources() {
        for n in (1..bytes.len().min(300)).chain((300..bytes.len()).step_by(211)) {
            survive(folder.path(), &name, &bytes[..n]);
        }
    }
}

#[test]
fn noise_behind_a_true_mark() {
    let folder = tempfile::tempdir().unwrap();
    let mut random = 1u32;
    for (name, bytes) in sources() {
        for kept in [4, 8, 12, 16, 42, 64, 100] {
            for _ in 0..10 {
                let noise = std::iter::repeat_with(|| {
                    random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    (random >> 24) as u8
                });
                let bytes: Vec<u8> = bytes[..kept].iter().copied().chain(noise.take(2000)).collect();
                survive(folder.path(), &name, &bytes);
            }
        }
    }
}
