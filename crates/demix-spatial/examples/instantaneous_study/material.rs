//! Sources from a folder of recordings, and rooms to mix them in.

use std::path::{Path, PathBuf};

use demix_files::audio::{ReadOptions, read};
use demix_signal::Waveform;
use ndarray::{Array2, s};
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use realfft::RealFftPlanner;

pub const RATE: u32 = 16000;

/// Speakers, two and two: the first three pairs choose, the others report.
const SPEECH: [(&str, &str); 6] = [
    ("1034_M_121119-0000", "1088_F_129236-0000"),
    ("125_F_121124-0000", "163_M_121908-0000"),
    ("196_M_122150-0000", "201_M_122255-0000"),
    ("211_F_122425-0000", "226_F_122538-0000"),
    ("233_M_134440-0000", "250_F_140277-0000"),
    ("1998_F_15444-0000", "3080_F_5032-0001"),
];
const STEMS: [(&str, &str); 3] = [("bass", "drums"), ("vocals", "bass"), ("vocals", "drums")];
/// Every so many songs of `Dev` are taken to choose.
const EVERY: usize = 3;

/// Two sources.
pub struct Pair {
    pub speech: bool,
    /// (2, samples).
    pub sources: Array2<f32>,
}

/// Pairs to choose with and pairs to report.
pub fn pairs(data: &Path) -> (Vec<Pair>, Vec<Pair>) {
    let (mut choose, mut report) = (Vec::new(), Vec::new());
    for (k, (a, b)) in SPEECH.iter().enumerate() {
        let file = |name: &str| data.join(format!("speech/librispeech_{name}.flac"));
        let pair = load(true, &file(a), &file(b));
        if k < 3 { choose.push(pair) } else { report.push(pair) }
    }
    for (split, every, into) in [("Dev", EVERY, &mut choose), ("Test", 1, &mut report)] {
        let folder = data.join("DSD100like/Sources").join(split);
        let mut songs: Vec<PathBuf> =
            std::fs::read_dir(&folder).expect("songs").map(|entry| entry.expect("a song").path()).collect();
        songs.sort();
        for song in songs.iter().step_by(every) {
            for (a, b) in STEMS {
                let file = |stem: &str| song.join(format!("{stem}.wav"));
                into.push(load(false, &file(a), &file(b)));
            }
        }
    }
    (choose, report)
}

fn load(speech: bool, a: &Path, b: &Path) -> Pair {
    let sounds = [a, b].map(|path| read(path, &ReadOptions::default()).expect("a recording").waveform);
    let n = sounds.iter().map(Waveform::n_samples).min().expect("two");
    let mut sources = Array2::zeros((2, n));
    for (sound, mut row) in sounds.iter().zip(sources.outer_iter_mut()) {
        assert_eq!(sound.sample_rate, RATE);
        row.assign(&sound.samples.slice(s![0, ..n]));
        // both equally loud: what is asked is what the methods do, not who is louder
        let power = row.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>() / n as f64;
        row *= (0.05 / power.sqrt()) as f32;
    }
    Pair { speech, sources }
}

/// Ways to mix.
#[derive(Clone, Debug)]
pub enum Room {
    /// Random real gains.
    Gains,
    /// Gains of two columns so many degrees apart.
    NarrowGains(f64),
    /// Random gains, and on each path one echo of this level (dB) after up to so many ms.
    Echo { level: f64, longest: f64 },
    /// The beginning of room responses, so many ms from the first arrival on; azimuths of both sources.
    Responses { folder: &'static str, kept: f64 },
}

impl Room {
    pub fn name(&self) -> String {
        match self {
            Self::Gains => "gains".into(),
            Self::NarrowGains(degrees) => format!("{degrees:.0}\u{b0} apart"),
            Self::Echo { level, longest } => format!("{longest} ms, {level} dB"),
            Self::Responses { folder, kept } => {
                let what = folder.split('_').nth(1).unwrap_or(folder);
                if *kept >= 300.0 { what.into() } else { format!("{what}, {kept} ms") }
            }
        }
    }

    /// Each source on both microphones, `images[source]` of shape (2, samples).
    pub fn images(&self, data: &Path, sources: &Array2<f32>, seed: u64) -> Vec<Array2<f32>> {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let mut uniform = move || random.random::<f64>();
        let paths: Vec<[Vec<f32>; 2]> = match self {
            Self::Gains | Self::Echo { .. } => {
                // columns anywhere in a half turn, at least 15 degrees apart
                let first = 180.0 * uniform();
                let second = first + 15.0 + 150.0 * uniform();
                let of = |degrees: f64| {
                    let (sin, cos) = degrees.to_radians().sin_cos();
                    [cos, sin]
                };
                [of(first), of(second)]
                    .map(|gains| {
                        gains.map(|gain| {
                            let mut path = vec![gain as f32];
                            if let Self::Echo { level, longest } = self {
                                let delay = 1 + (longest * 1e-3 * f64::from(RATE) * uniform()) as usize;
                                path.resize(delay + 1, 0.0);
                                path[delay] += (gain * 10f64.powf(level / 20.0)) as f32;
                            }
                            path
                        })
                    })
                    .into()
            }
            Self::NarrowGains(degrees) => {
                let first = 180.0 * uniform();
                [first, first + degrees]
                    .map(|degrees| {
                        let (sin, cos) = degrees.to_radians().sin_cos();
                        [vec![cos as f32], vec![sin as f32]]
                    })
                    .into()
            }
            Self::Responses { folder, kept } => {
                let angles = [("-050", "+050"), ("-030", "+030"), ("-070", "+010"), ("-010", "+050")];
                let (a, b) = angles[(seed % 4) as usize];
                [a, b]
                    .map(|azimuth| response(&data.join(format!("rir/{folder}/az{azimuth}.wav")), *kept))
                    .into()
            }
        };
        let n = sources.ncols();
        sources
            .outer_iter()
            .zip(paths)
            .map(|(source, paths)| {
                let mut image = Array2::zeros((2, n));
                for (mut row, path) in image.outer_iter_mut().zip(paths) {
                    let wet = convolve(&source.to_vec(), &path);
                    row.iter_mut().zip(wet).for_each(|(to, x)| *to = x);
                }
                image
            })
            .collect()
    }
}

/// Both channels from 1 ms before the first arrival on, faded out after `kept` ms.
fn response(path: &Path, kept: f64) -> [Vec<f32>; 2] {
    let h = read(path, &ReadOptions::default()).expect("a response").waveform;
    let peak = h.peak();
    let first = (0..h.n_samples())
        .find(|&t| h.samples.column(t).iter().any(|x| x.abs() > 0.3 * peak))
        .expect("a peak");
    let begin = first.saturating_sub(RATE as usize / 1000);
    let end = (first + (kept * 1e-3 * f64::from(RATE)) as usize + 1).min(h.n_samples());
    [0, 1].map(|m| h.samples.slice(s![m, begin..end]).to_vec())
}

fn convolve(x: &[f32], h: &[f32]) -> Vec<f32> {
    if h.len() == 1 {
        return x.iter().map(|x| x * h[0]).collect();
    }
    let length = (x.len() + h.len()).next_power_of_two();
    let mut planner = RealFftPlanner::<f64>::new();
    let (forward, inverse) = (planner.plan_fft_forward(length), planner.plan_fft_inverse(length));
    let spectrum = |x: &[f32]| {
        let mut padded: Vec<f64> = x.iter().map(|&x| f64::from(x)).collect();
        padded.resize(length, 0.0);
        let mut spectrum = forward.make_output_vec();
        forward.process(&mut padded, &mut spectrum).expect("lengths fit");
        spectrum
    };
    let mut product: Vec<_> =
        spectrum(x).iter().zip(spectrum(h)).map(|(a, b)| a * b / length as f64).collect();
    let mut y = vec![0.0; length];
    inverse.process(&mut product, &mut y).expect("lengths fit");
    y[..x.len()].iter().map(|&y| y as f32).collect()
}
