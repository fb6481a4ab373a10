//! Sounds and matrices for tests.

use demix_signal::Waveform;
use nalgebra::DMatrix;
use ndarray::Array2;
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

pub(crate) const RATE: u32 = 16000;

pub(crate) struct Random(ChaCha8Rng);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(ChaCha8Rng::seed_from_u64(seed))
    }

    /// In [0, 1).
    pub fn uniform(&mut self) -> f64 {
        self.0.random()
    }

    /// Mean 0, variance 1 (Box and Muller).
    pub fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.uniform()).ln()).sqrt();
        radius * (2.0 * std::f64::consts::PI * self.uniform()).cos()
    }
}

/// Independent white Gaussian channels.
pub(crate) fn noise(channels: usize, samples: usize, seed: u64) -> Waveform {
    let mut random = Random::new(seed);
    Waveform::new(Array2::from_shape_simple_fn((channels, samples), || random.normal() as f32), RATE)
}

pub(crate) fn random_rotation(n: usize, seed: u64) -> DMatrix<f64> {
    let mut random = Random::new(seed);
    DMatrix::from_fn(n, n, |_, _| random.normal()).qr().q()
}

/// Like a voice: pulses with a wandering pitch through three resonances, in syllables with pauses.
pub(crate) fn voice(samples: usize, seed: u64) -> Vec<f32> {
    let mut random = Random::new(seed);
    let rate = f64::from(RATE);
    let pitch = 90.0 + 130.0 * random.uniform();
    let (mut phase, mut syllable, mut loud, mut wander) = (0.0, 0usize, 0.0, 0.0);
    let mut resonances = [[0.0; 2]; 3];
    let mut formants = [(0.0, 0.0); 3];
    (0..samples)
        .map(|_| {
            if syllable == 0 {
                syllable = (rate * (0.08 + 0.2 * random.uniform())) as usize;
                loud = if random.uniform() < 0.3 { 0.0 } else { 0.3 + random.uniform() };
                for (formant, (low, wide)) in
                    formants.iter_mut().zip([(250.0, 600.0), (800.0, 1500.0), (2200.0, 1200.0)])
                {
                    *formant = (low + wide * random.uniform(), 60.0 + 60.0 * random.uniform());
                }
            }
            syllable -= 1;
            wander += 0.01 * (random.normal() - 0.02 * wander);
            phase += pitch * (1.0 + 0.05 * wander) / rate;
            let pulse = if phase >= 1.0 { 1.0 } else { 0.0 };
            phase = phase.fract();
            let mut x = loud * (pulse + 0.01 * random.normal());
            for (state, (frequency, bandwidth)) in resonances.iter_mut().zip(formants) {
                let radius = (-std::f64::consts::PI * bandwidth / rate).exp();
                let y = x + 2.0 * radius * (2.0 * std::f64::consts::PI * frequency / rate).cos() * state[0]
                    - radius * radius * state[1];
                *state = [y, state[0]];
                x = y * (1.0 - radius);
            }
            x as f32
        })
        .collect()
}

/// Like an instrument: decaying notes with overtones.
pub(crate) fn instrument(samples: usize, seed: u64) -> Vec<f32> {
    let mut random = Random::new(seed);
    let rate = f64::from(RATE);
    let base = 110.0 * 2f64.powf(2.0 * random.uniform());
    let length = (rate * (0.15 + 0.3 * random.uniform())) as usize;
    let mut note = (0.0, 0.0);
    (0..samples)
        .map(|t| {
            if t % length == 0 {
                note = (base * 2f64.powf((12.0 * random.uniform()).floor() / 12.0), 0.5 + random.uniform());
            }
            let seconds = (t % length) as f64 / rate;
            let tone = |k: f64| (2.0 * std::f64::consts::PI * k * note.0 * seconds).sin() / k;
            (note.1 * (-6.0 * seconds).exp() * (1..6).map(|k| tone(f64::from(k))).sum::<f64>()) as f32
        })
        .collect()
}

/// Voices and instruments in turn, each of power one: (sources, samples).
pub(crate) fn sources(n: usize, samples: usize, seed: u64) -> Array2<f32> {
    let mut all = Array2::zeros((n, samples));
    for (i, mut row) in all.outer_iter_mut().enumerate() {
        let of = seed * 100 + i as u64;
        let sound = if i % 2 == 0 { voice(samples, of) } else { instrument(samples, of) };
        let power = sound.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>() / samples as f64;
        let gain = (1.0 / power.sqrt()) as f32;
        row.iter_mut().zip(sound).for_each(|(to, x)| *to = 0.1 * gain * x);
    }
    all
}

/// A matrix (channels, sources) whose columns have length one and point in clearly different directions.
pub(crate) fn gains(channels: usize, sources: usize, seed: u64) -> Array2<f64> {
    let mut random = Random::new(seed);
    loop {
        let mut a = Array2::from_shape_simple_fn((channels, sources), || random.normal());
        for mut column in a.columns_mut() {
            let norm = column.dot(&column).sqrt();
            column /= norm;
        }
        let alike = |i: usize, j: usize| a.column(i).dot(&a.column(j)).abs();
        if (0..sources).all(|i| (0..i).all(|j| alike(i, j) < 0.8)) {
            return a;
        }
    }
}

pub(crate) fn mix(a: &Array2<f64>, s: &Array2<f32>) -> Waveform {
    Waveform::new(a.dot(&s.mapv(f64::from)).mapv(|x| x as f32), RATE)
}

/// Power of all other sources in each output over that of its own source, the mean over outputs, in dB: the
/// inter-symbol interference of G = W A; sources have equal power.
pub(crate) fn interference_db(w: &Array2<f64>, a: &Array2<f64>) -> f64 {
    let g = w.dot(a).mapv(|x| x * x);
    let of = |row: ndarray::ArrayView1<'_, f64>| {
        let largest = row.fold(0.0f64, |m, &x| m.max(x));
        (row.sum() - largest) / largest
    };
    10.0 * (g.outer_iter().map(of).sum::<f64>() / g.nrows() as f64).log10()
}

/// The index of Amari, Cichocki and Yang 1996, 0 for a perfect demixing, 1 at the most.
pub(crate) fn amari(w: &Array2<f64>, a: &Array2<f64>) -> f64 {
    let g = w.dot(a).mapv(f64::abs);
    let n = g.nrows() as f64;
    let of = |row: ndarray::ArrayView1<'_, f64>| row.sum() / row.fold(0.0f64, |m, &x| m.max(x)) - 1.0;
    (g.outer_iter().map(of).sum::<f64>() + g.columns().into_iter().map(of).sum::<f64>())
        / (2.0 * n * (n - 1.0))
}
