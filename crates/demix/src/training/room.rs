//! [`room`]: responses of rooms that nobody built, as many as examples.
//!
//! The direct sound, then Gaussian noise whose level falls by 60 dB in the reverberation time (Polack's model of late
//! reverberation), all through a short random filter: another microphone, another instrument.

use rand_chacha::ChaCha8Rng;

use super::chance::{between, normal};
use super::examples::amplitude;

/// Range of the energy of direct sound over reverberation, dB.
const DIRECT: [f64; 2] = [-3.0, 12.0];
/// Taps of a colour: details of half the rate over this.
const COLOURS: usize = 12;
/// The decay that is kept, dB: what comes later is far below any mixture's other sounds.
const KEPT: f64 = 40.0;

/// A response with a reverberation time below `longest` seconds and a colour of `decibel`; its first sample, 1, is the
/// direct sound.
pub(super) fn room(rng: &mut ChaCha8Rng, longest: f64, decibel: f64, rate: u32) -> Vec<f64> {
    let (seconds, direct) = (between(rng, 0.0, longest), between(rng, DIRECT[0], DIRECT[1]));
    let samples = seconds * f64::from(rate);
    let n = (samples * KEPT / 60.0) as usize;
    let mut room: Vec<f64> = (1..=n).map(|t| normal(rng) * amplitude(-60.0 * t as f64 / samples)).collect();
    let energy: f64 = room.iter().map(|h| h * h).sum();
    let gain = amplitude(-direct) / energy.sqrt().max(f64::MIN_POSITIVE);
    room.iter_mut().for_each(|h| *h *= gain);
    room.insert(0, 1.0);
    let colour = colour(rng, decibel);
    let mut coloured = vec![0.0; room.len() + colour.len() - 1];
    for (k, h) in colour.iter().enumerate() {
        coloured[k..].iter_mut().zip(&room).for_each(|(y, x)| *y += h * x);
    }
    coloured
}

/// A filter that begins with 1 and changes the level of bands about an octave wide by about `decibel`, up or down.
fn colour(rng: &mut ChaCha8Rng, decibel: f64) -> Vec<f64> {
    // of two uncorrelated parts, 1 and the rest, the level moves by about 8.7 dB times the relative size of the rest
    let each = decibel / 8.7 * (2.0 / COLOURS as f64).sqrt();
    let mut filter = vec![1.0];
    filter.extend((0..if decibel > 0.0 { COLOURS } else { 0 }).map(|_| each * normal(rng)));
    filter
}

#[cfg(test)]
mod tests {
    use rand_chacha::rand_core::SeedableRng as _;

    use super::*;

    #[test]
    fn rooms_decay_and_differ() {
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        let mut lengths = Vec::new();
        for _ in 0..50 {
            let room = room(&mut rng, 0.4, 0.0, 8000);
            assert_eq!(room[0], 1.0);
            let tail: f64 = room[1..].iter().map(|h| h * h).sum();
            lengths.push(room.len());
            if room.len() > 1 {
                // 12 dB below the direct sound to 3 dB above it
                assert!((0.063..2.0).contains(&tail), "{tail}");
            }
            if room.len() > 1000 {
                let part = |from: usize| room[from..from + 200].iter().map(|h| h * h).sum::<f64>();
                let fall = 10.0 * (part(1) / part(room.len() - 200)).log10();
                // 40 dB from the first sample to the last, and 200 of them at each end
                let expected = KEPT * (room.len() - 200) as f64 / room.len() as f64;
                assert!((fall - expected).abs() < 4.0, "{fall} {expected}");
            }
        }
        assert!(lengths.iter().max() > Some(&1900) && lengths.iter().min() < Some(&300), "{lengths:?}");
        assert_eq!(room(&mut rng, 0.0, 0.0, 8000), [1.0]);
        assert_eq!(colour(&mut rng, 0.0), [1.0]);
        // the deviation of the level over many filters and frequencies
        let mut squares = Vec::new();
        for _ in 0..200 {
            let filter = colour(&mut rng, 3.0);
            for k in 1..8 {
                let turn = |t: usize| std::f64::consts::TAU * (k * t) as f64 / 16.0;
                let re: f64 = filter.iter().enumerate().map(|(t, h)| h * turn(t).cos()).sum();
                let im: f64 = filter.iter().enumerate().map(|(t, h)| h * turn(t).sin()).sum();
                squares.push((10.0 * (re * re + im * im).log10()).powi(2));
            }
        }
        let deviation = (squares.iter().sum::<f64>() / squares.len() as f64).sqrt();
        assert!((2.2..4.0).contains(&deviation), "{deviation}");
    }
}
