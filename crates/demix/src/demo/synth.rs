//! Instruments made of sums of decaying sines and filtered noise: a struck string, an electric bass, a drum kit.
//!
//! A partial is z_t = r z_(t-1) with one complex r per partial (a damped rotation), so that a note costs one
//! complex product per partial and sample. Stiff strings stretch their partials as
//! f_n = n f_1 sqrt((1 + B n^2) / (1 + B)) (Fletcher and Rossing, The Physics of Musical Instruments, section 2.18).
//! Levels are amplitudes around 0.3; [`songs`](super::songs) sets the gain.

use std::f64::consts::{PI, TAU};

use demix_signal::Complex;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// Samples per second of all sounds of the demo, in Hz.
pub const SAMPLE_RATE: u32 = 22050;

const RATE: f64 = SAMPLE_RATE as f64;
/// Partials end below this frequency (Hz), so that none folds back.
const HIGHEST_PARTIAL: f64 = 0.45 * RATE;
/// Sounds are cut, faded, where they have decayed by this much: -80 dB.
const INAUDIBLE: f64 = 1e-4;

/// The one source of chance in a piece.
pub struct Chance(ChaCha8Rng);

impl Chance {
    /// `stream` separates the uses of one seed.
    pub fn new(seed: u64, stream: u64) -> Self {
        let mut generator = ChaCha8Rng::seed_from_u64(seed);
        generator.set_stream(stream);
        Self(generator)
    }

    /// A number in -1..1.
    pub fn uniform(&mut self) -> f64 {
        (self.0.next_u64() >> 11) as f64 / (1u64 << 52) as f64 - 1.0
    }

    /// `value`, changed by a share of at most `share` up or down.
    pub fn around(&mut self, value: f64, share: f64) -> f64 {
        value * (1.0 + share * self.uniform())
    }
}

/// Frequency of a key in Hz: 69 is the A of 440 Hz, 1 a semitone.
pub fn frequency(midi: f64) -> f64 {
    440.0 * ((midi - 69.0) / 12.0).exp2()
}

/// Name of a key: 60 is C4.
pub fn note_name(midi: u8) -> String {
    const NAMES: [&str; 12] = ["C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B"];
    format!("{}{}", NAMES[usize::from(midi % 12)], i32::from(midi / 12) - 1)
}

fn samples(seconds: f64) -> usize {
    (seconds * RATE).round() as usize
}

/// e^(-t / tau) at sample t.
fn decay(t: usize, tau: f64) -> f64 {
    (-(t as f64) / (tau * RATE)).exp()
}

/// Rises from 0 to 1 within `seconds` as half a cosine.
fn rise(t: usize, seconds: f64) -> f64 {
    let share = (t as f64 / (seconds * RATE)).min(1.0);
    0.5 - 0.5 * (PI * share).cos()
}

/// Adds a sine of `amplitude` that starts at `phase` and decays as e^(-t / tau).
fn add_partial(out: &mut [f64], amplitude: f64, frequency: f64, tau: f64, phase: f64) {
    let step = Complex::from_polar((-1.0 / (tau * RATE)).exp(), TAU * frequency / RATE);
    let mut z = Complex::from_polar(amplitude, phase);
    for y in out {
        *y += z.im;
        z *= step;
    }
}

/// Ends a sound without a click: the last `seconds` fall to zero as half a cosine.
pub fn fade_out(sound: &mut [f64], seconds: f64) {
    let n = samples(seconds).min(sound.len());
    let start = sound.len() - n;
    for (t, y) in sound[start..].iter_mut().enumerate() {
        *y *= 0.5 + 0.5 * (PI * (t + 1) as f64 / n as f64).cos();
    }
}

/// Low-pass, high-pass and band-pass of second order (Simper's trapezoidal state-variable filter).
#[derive(Clone, Copy, Default)]
struct Filter {
    first: f64,
    second: f64,
}

/// What passes a [`Filter`].
struct Passed {
    low: f64,
    band: f64,
    high: f64,
}

impl Filter {
    fn step(&mut self, x: f64, cutoff: f64, quality: f64) -> Passed {
        let g = (PI * (cutoff / RATE).min(0.49)).tan();
        let k = 1.0 / quality;
        let v3 = x - self.second;
        let v1 = (self.first + g * v3) / (1.0 + g * (g + k));
        let v2 = self.second + g * v1;
        self.first = 2.0 * v1 - self.first;
        self.second = 2.0 * v2 - self.second;
        Passed { low: v2, band: k * v1, high: x - k * v1 - v2 }
    }
}

/// A note on a struck string, as on a piano.
#[derive(Clone, Copy, Debug)]
pub struct StruckString {
    /// Key: 60 is middle C.
    pub midi: u8,
    /// How hard, 0..1: louder and brighter.
    pub velocity: f64,
    /// From the stroke to the damper.
    pub seconds: f64,
}

/// A struck note in its two parts, of equal length; their sum is the note.
pub struct Struck {
    /// The strings.
    pub tone: Vec<f64>,
    /// The noise of the stroke.
    pub hammer: Vec<f64>,
}

impl StruckString {
    /// Where the hammer strikes, as a share of the string: partials with a node there are missing.
    const STRIKING_POINT: f64 = 1.0 / 8.3;
    /// Time constant of the damper, in seconds.
    const DAMPER: f64 = 0.045;

    /// The sound, from the stroke until it has died away.
    pub fn play(&self, chance: &mut Chance) -> Struck {
        let n_samples = samples(self.seconds + Self::DAMPER * (1.0 / INAUDIBLE).ln());
        let mut tone = vec![0.0; n_samples];
        self.add_strings(&mut tone, chance);
        for (t, y) in tone.iter_mut().enumerate() {
            let after_damper = (t as f64 / RATE - self.seconds).max(0.0);
            *y *= rise(t, 0.0025) * (-after_damper / Self::DAMPER).exp();
        }
        fade_out(&mut tone, 0.01);
        let mut hammer = self.hammer(chance);
        hammer.resize(n_samples, 0.0);
        Struck { tone, hammer }
    }

    fn add_strings(&self, out: &mut [f64], chance: &mut Chance) {
        let key = f64::from(self.midi);
        let fundamental = frequency(key);
        let inharmonicity = 3.5e-4 * ((key - 60.0) / 9.0).exp2().clamp(0.2, 20.0);
        // a harder stroke bends the felt less: more high partials
        let brightness = 700.0 + 2600.0 * self.velocity * self.velocity;
        let loudness = 0.4 * self.velocity;
        for n in 1.. {
            let n = f64::from(n);
            let stretch = ((1.0 + inharmonicity * n * n) / (1.0 + inharmonicity)).sqrt();
            let f = n * fundamental * stretch;
            if f > HIGHEST_PARTIAL {
                break;
            }
            let comb = (PI * n * Self::STRIKING_POINT).sin().abs().max(0.05);
            let amplitude = loudness * comb / n.powf(0.35) * (-(f - fundamental) / brightness).exp();
            if amplitude < INAUDIBLE * loudness {
                continue;
            }
            let amplitude = chance.around(amplitude, 0.25);
            // radiation and inner friction take the high partials first
            let tau = 1.0 / (0.55 + 0.35 * (fundamental / 262.0) + 2.2e-7 * f * f + 6e-4 * f);
            // two strings a hair apart in pitch: a prompt sound, then beats and an aftersound
            let detune = chance.around(0.35, 0.3) * (f / 600.0).sqrt();
            let phase = PI * chance.uniform();
            add_partial(out, 0.68 * amplitude, f - 0.5 * detune, 0.75 * tau, phase);
            add_partial(out, 0.32 * amplitude, f + 0.5 * detune, 2.2 * tau, phase);
        }
    }

    /// The thump of key and soundboard and the short noise of felt on steel: no pitch, the same for every key.
    fn hammer(&self, chance: &mut Chance) -> Vec<f64> {
        let mut sound = vec![0.0; samples(0.16)];
        let loudness = 0.3 * self.velocity.powf(1.3);
        for mode in 0..9 {
            let f = chance.around(92.0 * (1.0 + 0.62 * f64::from(mode)), 0.02);
            let tau = 0.026 / (1.0 + 0.09 * f64::from(mode));
            add_partial(&mut sound, 0.23 * loudness, f, tau, PI * chance.uniform());
        }
        let (mut body, mut felt) = (Filter::default(), Filter::default());
        for (t, y) in sound.iter_mut().enumerate() {
            let noise = chance.uniform();
            let body = body.step(noise, 950.0, 0.6).band;
            let felt = felt.step(noise, 2900.0, 0.7).band;
            *y += loudness * (1.1 * body * decay(t, 0.020) + 0.75 * felt * decay(t, 0.011));
            *y *= rise(t, 0.0012);
        }
        fade_out(&mut sound, 0.03);
        sound
    }
}

/// A note on an electric bass, plucked with a finger.
#[derive(Clone, Copy, Debug)]
pub struct BassNote {
    /// Key: 28 is the lowest string, E1. Fractions tune.
    pub midi: f64,
    /// How hard, 0..1: louder and brighter.
    pub velocity: f64,
    /// From the pluck until the finger stops the string.
    pub seconds: f64,
}

impl BassNote {
    const STOP: f64 = 0.018;
    /// Where the finger plucks and where the pickup listens, as shares of the string.
    const PLUCK: f64 = 0.17;
    const PICKUP: f64 = 0.11;

    /// The sound, from the pluck until the string is still.
    pub fn play(&self, chance: &mut Chance) -> Vec<f64> {
        let mut sound = vec![0.0; samples(self.seconds + Self::STOP * (1.0 / INAUDIBLE).ln())];
        let fundamental = frequency(self.midi);
        for n in 1..=28 {
            let n = f64::from(n);
            let f = n * fundamental * (1.0 + 6e-5 * n * n);
            let amplitude = (PI * n * Self::PLUCK).sin().abs() * (PI * n * Self::PICKUP).sin() / n.powf(0.8);
            let tau = 1.0 / (0.9 + 0.11 * n * n.sqrt());
            add_partial(&mut sound, chance.around(amplitude, 0.1), f, tau, 0.0);
        }
        let (mut amplifier, mut finger) = (Filter::default(), Filter::default());
        for (t, y) in sound.iter_mut().enumerate() {
            let click = finger.step(chance.uniform(), 1400.0, 0.8).band * decay(t, 0.006);
            let cutoff = 380.0 + (900.0 + 2200.0 * self.velocity) * decay(t, 0.11);
            let string = amplifier.step(*y + 0.25 * click, cutoff, 0.9).low;
            let after_stop = (t as f64 / RATE - self.seconds).max(0.0);
            let envelope = rise(t, 0.003) * (-after_stop / Self::STOP).exp();
            // a touch of the amplifier's saturation
            *y = 0.55 * self.velocity * (1.5 * string).tanh() * envelope;
        }
        fade_out(&mut sound, 0.01);
        sound
    }
}

/// The pieces of a drum kit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drum {
    /// Bass drum.
    Kick,
    /// Snare drum.
    Snare,
    /// Hi-hat, closed.
    ClosedHat,
    /// Hi-hat, open.
    OpenHat,
    /// A tom.
    Tom,
}

/// One stroke on a drum.
#[derive(Clone, Copy, Debug)]
pub struct DrumHit {
    /// Which.
    pub drum: Drum,
    /// How hard, 0..1.
    pub velocity: f64,
    /// Factor of all its frequencies.
    pub tuning: f64,
}

impl DrumHit {
    /// The sound, from the stroke until it has died away.
    pub fn play(&self, chance: &mut Chance) -> Vec<f64> {
        let mut sound = match self.drum {
            Drum::Kick => self.kick(chance),
            Drum::Snare => self.snare(chance),
            Drum::ClosedHat => self.hat(chance, 0.028, 0.2),
            Drum::OpenHat => self.hat(chance, 0.19, 0.55),
            Drum::Tom => self.tom(chance),
        };
        fade_out(&mut sound, 0.02);
        sound
    }

    /// A sine whose pitch falls from `start` to `end`, both in Hz, with time constant `tau`.
    fn swept(&self, t: usize, phase: &mut f64, start: f64, end: f64, tau: f64) -> f64 {
        *phase += TAU * self.tuning * (end + (start - end) * decay(t, tau)) / RATE;
        phase.sin()
    }

    fn kick(&self, chance: &mut Chance) -> Vec<f64> {
        let (mut phase, mut beater) = (0.0, Filter::default());
        let sweep = chance.around(190.0, 0.05);
        (0..samples(0.55))
            .map(|t| {
                let skin = self.swept(t, &mut phase, sweep, 51.0, 0.022) * decay(t, 0.13);
                let click = beater.step(chance.uniform(), 3200.0, 0.7).band * decay(t, 0.004);
                0.75 * self.velocity * (1.6 * skin + 0.7 * self.velocity * click).tanh() * rise(t, 0.0006)
            })
            .collect()
    }

    fn snare(&self, chance: &mut Chance) -> Vec<f64> {
        let mut sound = vec![0.0; samples(0.42)];
        for (f, amplitude, tau) in [(187.0, 0.5, 0.055), (331.0, 0.3, 0.04), (476.0, 0.13, 0.025)] {
            let f = self.tuning * chance.around(f, 0.01);
            add_partial(&mut sound, amplitude, f, tau, 0.0);
        }
        let (mut wires, mut body, mut stick) = (Filter::default(), Filter::default(), Filter::default());
        for (t, y) in sound.iter_mut().enumerate() {
            let noise = chance.uniform();
            let wires = wires.step(noise, 2300.0 * self.tuning, 0.6).high * decay(t, 0.075);
            let body = body.step(noise, 1100.0 * self.tuning, 0.5).band * decay(t, 0.035);
            let stick = stick.step(noise, 4500.0, 0.7).band * decay(t, 0.004);
            let sum = *y + 0.42 * wires + 0.5 * body + 0.5 * stick;
            *y = 0.55 * self.velocity * sum.tanh() * rise(t, 0.0005);
        }
        sound
    }

    /// Six clashing square waves and noise, everything below 6 kHz taken away.
    fn hat(&self, chance: &mut Chance, tau: f64, seconds: f64) -> Vec<f64> {
        const PLATES: [f64; 6] = [317.0, 465.0, 563.0, 797.0, 1217.0, 823.0];
        let tau = chance.around(tau, 0.08);
        let mut phases = [0; 6].map(|_| 0.5 + 0.5 * chance.uniform());
        let mut pass = [Filter::default(); 2];
        (0..samples(seconds))
            .map(|t| {
                let mut metal = 0.0;
                for (phase, plate) in phases.iter_mut().zip(PLATES) {
                    *phase = (*phase + self.tuning * plate / RATE).fract();
                    metal += if *phase < 0.5 { 1.0 } else { -1.0 };
                }
                let [first, second] = &mut pass;
                let bright =
                    first.step(0.12 * metal + 0.55 * chance.uniform(), 6200.0 * self.tuning, 0.8).high;
                let bright = second.step(bright, 5600.0 * self.tuning, 0.9).high;
                let strike = 1.0 + 1.2 * decay(t, 0.003);
                0.26 * self.velocity * bright * strike * decay(t, tau) * rise(t, 0.0006)
            })
            .collect()
    }

    fn tom(&self, chance: &mut Chance) -> Vec<f64> {
        let (mut phase, mut overtone, mut stick) = (0.0, 0.0, Filter::default());
        (0..samples(0.6))
            .map(|t| {
                let skin = self.swept(t, &mut phase, 178.0, 118.0, 0.05) * decay(t, 0.15);
                let ring = self.swept(t, &mut overtone, 281.0, 188.0, 0.05) * decay(t, 0.06);
                let stick = stick.step(chance.uniform(), 1800.0, 0.6).band * decay(t, 0.007);
                0.5 * self.velocity * (1.2 * skin + 0.35 * ring + 0.8 * stick).tanh() * rise(t, 0.0008)
            })
            .collect()
    }
}

/// A small room: four damped combs side by side, then two all-passes (Schroeder 1962, Moorer 1979). Linear,
/// so that the rooms of the stems sum to the room of the mixture.
pub struct Room {
    /// Share of reflected sound.
    pub wet: f64,
    /// Time until reflections have fallen by 60 dB, in seconds.
    pub t60: f64,
}

impl Room {
    /// The sound in the room, of the same length.
    pub fn around(&self, sound: &[f64]) -> Vec<f64> {
        const COMBS: [usize; 4] = [653, 727, 811, 887];
        const ALL_PASSES: [(usize, f64); 2] = [(131, 0.7), (41, 0.7)];
        const DAMPING: f64 = 0.35;
        let mut reflected = vec![0.0; sound.len()];
        for delay in COMBS {
            let feedback = 1e-3f64.powf(delay as f64 / (self.t60 * RATE));
            let (mut line, mut smooth) = (vec![0.0; delay], 0.0);
            for (t, (y, x)) in reflected.iter_mut().zip(sound).enumerate() {
                let slot = &mut line[t % delay];
                smooth = (1.0 - DAMPING) * *slot + DAMPING * smooth;
                *y += 0.25 * *slot;
                *slot = x + feedback * smooth;
            }
        }
        for (delay, gain) in ALL_PASSES {
            let mut line = vec![0.0; delay];
            for (t, y) in reflected.iter_mut().enumerate() {
                let slot = &mut line[t % delay];
                let inner = *y + gain * *slot;
                *y = *slot - gain * inner;
                *slot = inner;
            }
        }
        sound.iter().zip(&reflected).map(|(x, y)| x + self.wet * y).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn energy(sound: &[f64]) -> f64 {
        sound.iter().map(|x| x * x).sum()
    }

    /// The lag of the highest autocorrelation between 25 Hz and 1000 Hz, refined by a parabola, as a frequency.
    fn pitch(sound: &[f64]) -> f64 {
        let stretch = &sound[samples(0.05)..samples(0.45).min(sound.len())];
        let n = stretch.len() * 2 / 3;
        let similarity = |lag: usize| -> f64 {
            let later = &stretch[lag..lag + n.min(stretch.len() - lag)];
            let dot: f64 = stretch.iter().zip(later).map(|(x, y)| x * y).sum();
            dot / (energy(&stretch[..later.len()]) * energy(later)).sqrt()
        };
        let r: Vec<f64> = (0..(RATE / 25.0) as usize).map(similarity).collect();
        let shortest = (RATE / 1000.0) as usize;
        let highest = r[shortest..].iter().fold(0.0f64, |m, &x| m.max(x));
        // the first peak that is about as high as any: multiples of the period are as similar
        let is_peak = |lag: usize| r[lag] > 0.97 * highest && r[lag] >= r[lag - 1] && r[lag] >= r[lag + 1];
        let lag = (shortest..r.len() - 1).find(|&lag| is_peak(lag)).expect("a note has a period");
        let (a, b, c) = (r[lag - 1], r[lag], r[lag + 1]);
        RATE / (lag as f64 + 0.5 * (a - c) / (a - 2.0 * b + c))
    }

    fn cents(found: f64, wanted: f64) -> f64 {
        1200.0 * (found / wanted).log2()
    }

    #[test]
    fn keys_have_their_frequencies_and_names() {
        assert!((frequency(69.0) - 440.0).abs() < 1e-9 && (frequency(57.0) - 220.0).abs() < 1e-9);
        assert_eq!([60, 61, 69, 28].map(note_name), ["C4", "C#4", "A4", "E1"]);
    }

    #[test]
    fn notes_have_their_pitch() {
        for midi in [55, 60, 62, 64, 67, 72] {
            let note = StruckString { midi, velocity: 0.8, seconds: 0.6 }.play(&mut Chance::new(1, 0));
            let off = cents(pitch(&note.tone), frequency(f64::from(midi)));
            // stretched partials draw the period a little sharp
            assert!((-8.0..25.0).contains(&off), "key {midi} is off by {off} cents");
        }
        for midi in [28.0, 33.0, 40.0] {
            let note = BassNote { midi, velocity: 0.8, seconds: 0.6 }.play(&mut Chance::new(1, 0));
            let off = cents(pitch(&note), frequency(midi));
            assert!(off.abs() < 20.0, "key {midi} is off by {off} cents");
        }
    }

    #[test]
    fn notes_decay_and_the_damper_ends_them() {
        let note = StruckString { midi: 60, velocity: 0.8, seconds: 1.0 }.play(&mut Chance::new(2, 0));
        let level = |from: f64| energy(&note.tone[samples(from)..samples(from + 0.1)]);
        assert!(level(0.05) > 2.0 * level(0.85), "it sustains");
        assert!(level(0.85) > 1e-3 * level(0.05), "it dies at once");
        assert!(level(1.25) < 1e-3 * level(0.85), "the damper does not damp");
        // the noise of the hammer is over within 160 ms, and weaker than the string
        assert_eq!(energy(&note.hammer[samples(0.2)..]), 0.0);
        assert!(energy(&note.hammer) < 0.2 * energy(&note.tone));
    }

    #[test]
    fn high_partials_die_first() {
        let note = StruckString { midi: 60, velocity: 0.9, seconds: 2.0 }.play(&mut Chance::new(3, 0)).tone;
        // differences weigh high frequencies more
        let brightness = |from: f64| {
            let part = &note[samples(from)..samples(from + 0.2)];
            energy(&part.windows(2).map(|w| w[1] - w[0]).collect::<Vec<_>>()) / energy(part)
        };
        assert!(brightness(0.02) > 2.0 * brightness(1.5));
    }

    #[test]
    fn no_sound_clicks_or_clips() {
        let chance = &mut Chance::new(4, 0);
        let mut sounds: Vec<Vec<f64>> = [Drum::Kick, Drum::Snare, Drum::ClosedHat, Drum::OpenHat, Drum::Tom]
            .map(|drum| DrumHit { drum, velocity: 1.0, tuning: 1.0 }.play(chance))
            .into();
        let struck = StruckString { midi: 60, velocity: 1.0, seconds: 0.5 }.play(chance);
        sounds.extend([
            struck.tone,
            struck.hammer,
            BassNote { midi: 28.0, velocity: 1.0, seconds: 0.4 }.play(chance),
        ]);
        for (n, sound) in sounds.iter().enumerate() {
            let peak = sound.iter().fold(0.0f64, |peak, x| peak.max(x.abs()));
            assert!((0.05..1.5).contains(&peak), "sound {n} has peak {peak}");
            assert!(sound[0].abs() < 1e-3 * peak, "sound {n} starts at {}", sound[0]);
            let end = sound[sound.len() - 3..].iter().fold(0.0f64, |m, x| m.max(x.abs()));
            assert!(end < 1e-3 * peak, "sound {n} ends at {end}");
            let mean = sound.iter().sum::<f64>() / sound.len() as f64;
            assert!(mean.abs() < 0.01 * peak, "sound {n} has mean {mean}");
        }
    }

    #[test]
    fn drums_are_where_they_belong() {
        let play = |drum| DrumHit { drum, velocity: 0.9, tuning: 1.0 }.play(&mut Chance::new(5, 0));
        // zero crossings per second over 2: about the frequency of the strongest part
        let centre = |sound: &[f64]| {
            let part = &sound[..samples(0.1)];
            let crossings = part.windows(2).filter(|w| (w[0] < 0.0) != (w[1] < 0.0)).count();
            5.0 * crossings as f64
        };
        let [kick, snare, hat, tom] =
            [Drum::Kick, Drum::Snare, Drum::ClosedHat, Drum::Tom].map(|d| centre(&play(d)));
        assert!(kick < 120.0 && (100.0..250.0).contains(&tom) && kick < tom, "kick {kick} Hz, tom {tom} Hz");
        assert!(snare > 400.0 && hat > 4000.0, "snare {snare} Hz, hat {hat} Hz");
        let ring = |drum| energy(&play(drum)[samples(0.1)..samples(0.2)]);
        assert!(ring(Drum::OpenHat) > 30.0 * ring(Drum::ClosedHat));
    }

    #[test]
    fn rooms_are_linear() {
        let chance = &mut Chance::new(6, 0);
        let mut noise = || (0..4000).map(|_| chance.uniform()).collect::<Vec<_>>();
        let (x, y) = (noise(), noise());
        let both: Vec<f64> = x.iter().zip(&y).map(|(x, y)| x + y).collect();
        let room = Room { wet: 0.3, t60: 0.4 };
        let (x, y, both) = (room.around(&x), room.around(&y), room.around(&both));
        // a few hundred reflections of sums of rounding 1e-16
        assert!((0..4000).all(|t| (x[t] + y[t] - both[t]).abs() < 1e-13));
    }
}
