//! A folder with sounds, and the program running in it.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use demix::files::audio::{self, ReadOptions, WriteFormat};
use demix::signal::Waveform;
use ndarray::{Array2, Axis};
use tempfile::TempDir;

pub const RATE: u32 = 8000;

/// A temporary folder; all paths in commands are relative to it.
pub struct Lab {
    folder: TempDir,
}

/// What a run left.
pub struct Run {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Lab {
    pub fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    pub fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_demix"));
        // help is wrapped to the terminal's width, where there is one
        command.current_dir(self.folder.path()).env("COLUMNS", "100").env_remove("RUST_BACKTRACE");
        command
    }

    /// Runs `demix` with these arguments.
    pub fn run<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Run {
        let output = self.command().args(arguments).output().unwrap();
        let run = Run {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        };
        assert!(!run.err.contains("panicked"), "{}", run.err);
        run
    }

    /// Runs a command line whose words hold no spaces.
    pub fn line(&self, line: &str) -> Run {
        self.run(line.split_whitespace())
    }

    /// Runs a command line that has to succeed.
    pub fn done(&self, line: &str) -> Run {
        let run = self.line(line);
        assert_eq!(run.code, 0, "demix {line}\n{}{}", run.out, run.err);
        run
    }

    pub fn write(&self, name: &str, waveform: &Waveform) {
        audio::write(&self.path(name), waveform, &WriteFormat::default()).unwrap();
    }

    pub fn read(&self, name: impl AsRef<Path>) -> Waveform {
        let path = self.path(name);
        audio::read(&path, &ReadOptions::default()).unwrap_or_else(|e| panic!("{e}")).waveform
    }

    pub fn bytes(&self, name: impl AsRef<Path>) -> Vec<u8> {
        std::fs::read(self.path(name)).unwrap()
    }

    pub fn json(&self, name: &str) -> serde_json::Value {
        serde_json::from_slice(&self.bytes(name)).unwrap()
    }

    /// Every file and folder with its content.
    pub fn everything(&self) -> BTreeMap<PathBuf, Option<Vec<u8>>> {
        let mut all = BTreeMap::new();
        let mut folders = vec![self.folder.path().to_path_buf()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(&folder).unwrap() {
                let path = entry.unwrap().path();
                let inside = path.strip_prefix(self.folder.path()).unwrap().to_path_buf();
                if path.is_dir() {
                    folders.push(path);
                    all.insert(inside, None);
                } else {
                    all.insert(inside, Some(std::fs::read(path).unwrap()));
                }
            }
        }
        all
    }

    /// The names of what is in a folder, sorted.
    pub fn names(&self, folder: &str) -> Vec<String> {
        let entries = std::fs::read_dir(self.path(folder)).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// The sources that a report lists, in its order.
    pub fn sources(&self, folder: &str) -> Vec<Waveform> {
        let report = self.json(&format!("{folder}/report.json"));
        let files = report["sources"].as_array().unwrap().iter();
        files.map(|source| self.read(format!("{folder}/{}", source["file"].as_str().unwrap()))).collect()
    }
}

/// Numbers in [-1, 1) that look random and are always the same.
pub fn noise(n: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..n).map(|_| next()).collect()
}

/// A low tone with overtones that changes its pitch every half second.
pub fn bass(seconds: f64, take: u64) -> Waveform {
    let rate = f64::from(RATE);
    let pitches = [82.4, 98.0, 110.0, 123.5];
    let mut phase = 0.0;
    let samples = (0..(seconds * rate) as usize).map(|t| {
        let note = (t as f64 / rate * 2.0) as u64;
        phase += 2.0 * std::f64::consts::PI * pitches[((note + take) % 4) as usize] / rate;
        let decay = (-3.0 * (t as f64 / rate * 2.0).fract()).exp();
        (0.25 * decay * (1..6).map(|k| (phase * f64::from(k)).sin() / f64::from(k)).sum::<f64>()) as f32
    });
    Waveform::mono(samples.collect(), RATE)
}

/// Bursts of bright noise, three in a second.
pub fn drums(seconds: f64, take: u64) -> Waveform {
    let n = (seconds * f64::from(RATE)) as usize;
    let noise = noise(n + 1, 77 + take);
    let hit = |t: usize| (-25.0 * (t as f64 / f64::from(RATE) * 3.0).fract()).exp() as f32;
    let samples = (0..n).map(|t| 0.4 * hit(t) * (noise[t + 1] - noise[t]));
    Waveform::mono(samples.collect(), RATE)
}

pub fn mix(a: &Waveform, b: &Waveform) -> Waveform {
    Waveform::new(&a.samples + &b.samples, a.sample_rate)
}

/// Two channels: the first sound on the left, the second on the right, each a bit on the other side.
pub fn stereo(a: &Waveform, b: &Waveform) -> Waveform {
    let (left, right) = (&a.samples + &(&b.samples * 0.3), &b.samples + &(&a.samples * 0.2));
    Waveform::new(ndarray::concatenate(Axis(0), &[left.view(), right.view()]).unwrap(), a.sample_rate)
}

/// 10 log10 of the energy of (x - sum of y) over that of x.
pub fn residual_db(x: &Waveform, y: &[Waveform]) -> f64 {
    let mut rest: Array2<f64> = x.samples.mapv(f64::from);
    y.iter().for_each(|y| rest -= &y.samples.mapv(f64::from));
    let energy = |x: &Array2<f64>| x.iter().map(|x| x * x).sum::<f64>();
    10.0 * (energy(&rest) / energy(&x.samples.mapv(f64::from))).log10()
}
