//! The pieces of the demo, as stems and as their sum.

use demix_signal::Waveform;

use super::synth::{
    BassNote, Chance, Drum, DrumHit, Room, SAMPLE_RATE, Struck, StruckString, fade_out, note_name,
};

/// Largest absolute sample of a mixture.
const PEAK: f64 = 0.8;

/// One instrument, or one pitch, of a piece.
#[derive(Clone, Debug)]
pub struct Stem {
    /// `bass`, `E4`...
    pub name: String,
    /// What it plays, in the room, as loud as in the mixture.
    pub sound: Waveform,
}

/// A mixture and what it is the sum of.
#[derive(Clone, Debug)]
pub struct Piece {
    /// The sum.
    pub mixture: Waveform,
    /// Its parts.
    pub stems: Vec<Stem>,
}

/// A piece on struck strings, to be taken apart in two ways.
#[derive(Clone, Debug)]
pub struct StruckPiece {
    /// One stem per pitch, its hammer included.
    pub notes: Piece,
    /// One stem per pitch without its hammer, and at last all hammers.
    pub tones_and_hammer: Piece,
}

/// When a note starts, in beats; its key; its length in beats; its velocity.
type Note = (f64, u8, f64, f64);

/// 'Mary had a little lamb' on E, D and C alone: the two high notes of the tune are E here, as in the lectures
/// that made it the first example of every course, so that three components are the truth.
pub fn mary(seed: u64) -> StruckPiece {
    const C: u8 = 60;
    const D: u8 = 62;
    const E: u8 = 64;
    const TUNE: [(u8, f64); 25] = [
        // Mary had a little lamb, little lamb, little lamb
        (E, 1.0),
        (D, 1.0),
        (C, 1.0),
        (D, 1.0),
        (E, 1.0),
        (E, 1.0),
        (E, 2.0),
        (D, 1.0),
        (D, 1.0),
        (D, 2.0),
        (E, 1.0),
        (E, 1.0),
        (E, 2.0),
        // Mary had a little lamb whose fleece was white as snow
        (E, 1.0),
        (D, 1.0),
        (C, 1.0),
        (D, 1.0),
        (E, 1.0),
        (E, 1.0),
        (E, 1.0),
        (E, 1.0),
        (D, 1.0),
        (D, 1.0),
        (E, 1.0),
        (D, 1.0),
    ];
    let mut start = 0.0;
    let mut notes: Vec<Note> = Vec::new();
    for (key, beats) in TUNE.into_iter().chain([(C, 4.0)]) {
        let on_the_beat = start % 4.0 == 0.0;
        notes.push((start, key, 0.96 * beats, if on_the_beat { 0.8 } else { 0.68 }));
        start += beats;
    }
    play_struck(&notes, 0.34, &mut Chance::new(seed, 1))
}

/// C, E and G one after another, then all three at once.
pub fn notes_then_chord(seed: u64) -> StruckPiece {
    const KEYS: [u8; 3] = [60, 64, 67];
    let one_by_one = KEYS.iter().enumerate().map(|(n, &key)| (n as f64, key, 0.95, 0.85));
    let chord = KEYS.iter().map(|&key| (3.0, key, 1.9, 0.8));
    play_struck(&one_by_one.chain(chord).collect::<Vec<_>>(), 1.0, &mut Chance::new(seed, 2))
}

fn play_struck(notes: &[Note], beat: f64, chance: &mut Chance) -> StruckPiece {
    let mut keys: Vec<u8> = notes.iter().map(|note| note.1).collect();
    keys.sort_unstable();
    keys.dedup();
    let last_beat = notes.iter().map(|(start, _, beats, _)| start + beats).fold(0.0, f64::max);
    let n_samples = at(last_beat * beat + 0.6);
    let mut tones = vec![vec![0.0; n_samples]; keys.len()];
    let mut hammers = tones.clone();
    for &(start, midi, beats, velocity) in notes {
        let string = StruckString { midi, velocity: chance.around(velocity, 0.06), seconds: beats * beat };
        // the first stroke is not the first sample, no player is a machine
        let when = at(0.08 + start * beat + 0.004 * chance.uniform());
        let Struck { tone, hammer } = string.play(chance);
        let n = keys.iter().position(|&key| key == midi).expect("keys are those of the notes");
        add(&mut tones[n], when, &tone);
        add(&mut hammers[n], when, &hammer);
    }
    let names: Vec<String> = keys.iter().map(|&key| note_name(key)).collect();
    let room = Room { wet: 0.12, t60: 0.35 };
    let in_room = |stems: Vec<Vec<f64>>| stems.iter().map(|stem| room.around(stem)).collect::<Vec<_>>();
    let (tones, hammers) = (in_room(tones), in_room(hammers));
    let gain = gain_to_peak(tones.iter().chain(&hammers));
    let notes = tones.iter().zip(&hammers).map(|(tone, hammer)| sum([tone, hammer])).collect();
    let notes = mix(names.clone(), notes, gain);
    let all_hammers = sum(&hammers);
    let named = names.into_iter().chain(["hammer".into()]).collect();
    let mut tones_and_hammer = mix(named, tones.into_iter().chain([all_hammers]).collect(), gain);
    // the same samples to the last bit, although summed in another order
    tones_and_hammer.mixture = notes.mixture.clone();
    StruckPiece { notes, tones_and_hammer }
}

/// Which playing of drums and bass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Take {
    /// The loop that is separated.
    Loop,
    /// Another day: other patterns, another tempo, slightly other tunings, other strokes.
    Rehearsal,
}

/// One bar of sixteenths for each drum: `X` accent, `x` stroke, `o` soft, `.` rest.
type Bar = [(Drum, &'static str); 5];

/// Bass notes of one bar: first sixteenth, key, length in sixteenths.
type BassBar = &'static [(u8, u8, u8)];

/// Four bars of drums and bass; the stems are `drums` and `bass`.
pub fn drums_and_bass(seed: u64, take: Take) -> Piece {
    use Drum::{ClosedHat, Kick, OpenHat, Snare, Tom};
    const BEAT: Bar = [
        (Kick, "X..x..x...X....."),
        (Snare, "....X..o.o..X..."),
        (ClosedHat, "X.x.X.x.X.x.X..."),
        (OpenHat, "..............x."),
        (Tom, "................"),
    ];
    const FILL: Bar = [
        (Kick, "X..x..x...X....."),
        (Snare, "....X..o.oX.o.X."),
        (ClosedHat, "X.x.X.x.X......."),
        (OpenHat, "................"),
        (Tom, "...........xX.xX"),
    ];
    const OTHER_BEAT: Bar = [
        (Kick, "X.......X.x....."),
        (Snare, "....X.......X..o"),
        (ClosedHat, "XoxoXoxoXoxoXo.o"),
        (OpenHat, "..............x."),
        (Tom, "................"),
    ];
    const OTHER_FILL: Bar = [
        (Kick, "X.....X.X......."),
        (Snare, "..x.X.....xoX.oX"),
        (ClosedHat, "X.x...x.X..x...."),
        (OpenHat, "....x..........."),
        (Tom, "......xX..X...x."),
    ];
    // E minor: E1 = 28, G1 = 31, A1 = 33, B1 = 35, D2 = 38, E2 = 40
    const LINE: [BassBar; 4] = [
        &[(0, 28, 3), (3, 28, 2), (6, 40, 2), (8, 38, 2), (10, 35, 3), (14, 31, 2)],
        &[(0, 33, 3), (3, 33, 2), (6, 35, 2), (10, 33, 3), (13, 31, 3)],
        &[(0, 28, 3), (3, 28, 2), (6, 40, 2), (8, 38, 2), (10, 35, 3), (14, 38, 2)],
        &[(0, 31, 4), (4, 33, 3), (8, 35, 3), (12, 38, 2), (14, 40, 2)],
    ];
    const OTHER_LINE: [BassBar; 4] = [
        &[(0, 28, 2), (2, 31, 2), (4, 33, 4), (8, 35, 2), (12, 38, 4)],
        &[(0, 40, 4), (4, 38, 2), (6, 35, 2), (8, 33, 3), (11, 31, 5)],
        &[(0, 31, 3), (4, 28, 6), (10, 33, 2), (12, 40, 2), (14, 35, 2)],
        &[(0, 38, 4), (6, 31, 2), (8, 28, 4), (12, 35, 2), (14, 33, 2)],
    ];
    let (bars, line, tempo, stream, drum_tuning, cents) = match take {
        Take::Loop => ([BEAT, BEAT, BEAT, FILL], LINE, 108.0, 3, 1.0, 0.0),
        Take::Rehearsal => {
            ([OTHER_BEAT, OTHER_FILL, OTHER_BEAT, OTHER_FILL], OTHER_LINE, 117.0, 4, 0.985, 6.0)
        }
    };
    let chance = &mut Chance::new(seed, stream);
    let sixteenth = 60.0 / tempo / 4.0;
    let n_samples = at(64.0 * sixteenth + 0.5);
    let (mut drums, mut bass) = (vec![0.0; n_samples], vec![0.0; n_samples]);
    // late by 20 ms at first: early strokes shall not fall off the beginning
    let when = |bar: usize, step: usize, chance: &mut Chance| {
        at(0.02 + (16 * bar + step) as f64 * sixteenth + 0.004 * chance.uniform())
    };
    for (n, bar) in bars.iter().enumerate() {
        for &(drum, strokes) in bar {
            for (step, stroke) in strokes.chars().enumerate() {
                let velocity = match stroke {
                    'X' => 0.95,
                    'x' => 0.72,
                    'o' => 0.35,
                    _ => continue,
                };
                let velocity = chance.around(velocity, 0.07);
                let hit = DrumHit { drum, velocity, tuning: chance.around(drum_tuning, 0.004) };
                add(&mut drums, when(n, step, chance), &hit.play(chance));
            }
        }
        for &(step, key, length) in line[n] {
            let midi = f64::from(key) + cents / 100.0 + 0.02 * chance.uniform();
            let seconds = 0.94 * f64::from(length) * sixteenth;
            let note = BassNote { midi, velocity: chance.around(0.75, 0.12), seconds };
            add(&mut bass, when(n, usize::from(step), chance), &note.play(chance));
        }
    }
    let room = Room { wet: 0.10, t60: 0.25 };
    let stems = vec![room.around(&drums), bass];
    let gain = gain_to_peak(&stems);
    mix(vec!["drums".into(), "bass".into()], stems, gain)
}

/// The sample at `seconds`.
fn at(seconds: f64) -> usize {
    (seconds.max(0.0) * f64::from(SAMPLE_RATE)).round() as usize
}

fn add(stem: &mut [f64], when: usize, sound: &[f64]) {
    let rest = stem.get_mut(when..).unwrap_or_default();
    rest.iter_mut().zip(sound).for_each(|(y, x)| *y += x);
}

fn sum<'a>(sounds: impl IntoIterator<Item = &'a Vec<f64>>) -> Vec<f64> {
    let mut total: Vec<f64> = Vec::new();
    for sound in sounds {
        total.resize(sound.len(), 0.0);
        total.iter_mut().zip(sound).for_each(|(y, x)| *y += x);
    }
    total
}

fn gain_to_peak<'a>(stems: impl IntoIterator<Item = &'a Vec<f64>>) -> f64 {
    PEAK / sum(stems).iter().fold(f64::MIN_POSITIVE, |peak, x| peak.max(x.abs()))
}

/// Fades the end of every stem, and adds them up as they are stored, in single precision.
fn mix(names: Vec<String>, stems: Vec<Vec<f64>>, gain: f64) -> Piece {
    let stems: Vec<Stem> = names
        .into_iter()
        .zip(stems)
        .map(|(name, mut sound)| {
            fade_out(&mut sound, 0.15);
            let sound = sound.iter().map(|x| (gain * x) as f32).collect();
            Stem { name, sound: Waveform::mono(sound, SAMPLE_RATE) }
        })
        .collect();
    let mut mixture = Waveform::mono(vec![0.0; stems[0].sound.n_samples()], SAMPLE_RATE);
    stems.iter().for_each(|stem| mixture.samples += &stem.sound.samples);
    Piece { mixture, stems }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces(seed: u64) -> Vec<Piece> {
        let (mary, chord) = (mary(seed), notes_then_chord(seed));
        vec![
            mary.notes,
            mary.tones_and_hammer,
            chord.notes,
            chord.tones_and_hammer,
            drums_and_bass(seed, Take::Loop),
            drums_and_bass(seed, Take::Rehearsal),
        ]
    }

    #[test]
    fn stems_sum_to_the_mixture() {
        for Piece { mixture, stems } in pieces(0) {
            let mut rest = mixture.samples.clone();
            stems.iter().for_each(|stem| rest -= &stem.sound.samples);
            // single precision rounds each of at most four stems, all below one
            assert!(rest.iter().all(|x| x.abs() <= 8.0 * f32::EPSILON));
            assert!((mixture.peak() - PEAK as f32).abs() < 1e-3, "peak {}", mixture.peak());
            assert!(stems.iter().all(|stem| stem.sound.peak() > 0.02), "a stem is silent");
        }
    }

    #[test]
    fn pieces_start_and_end_in_silence() {
        for Piece { mixture, .. } in pieces(0) {
            let x = mixture.samples.row(0);
            assert!(x[0].abs() < 1e-4 && x[x.len() - 1].abs() < 1e-4);
            assert!((4.0..15.0).contains(&mixture.seconds()));
        }
    }

    #[test]
    fn the_seed_decides() {
        for (one, again, other) in triples(pieces(7), pieces(7), pieces(8)) {
            assert_eq!(one.mixture, again.mixture);
            assert_ne!(one.mixture, other.mixture);
        }
    }

    fn triples(a: Vec<Piece>, b: Vec<Piece>, c: Vec<Piece>) -> impl Iterator<Item = (Piece, Piece, Piece)> {
        a.into_iter().zip(b).zip(c).map(|((a, b), c)| (a, b, c))
    }

    #[test]
    fn the_tune_has_three_pitches_and_the_rehearsal_is_another_take() {
        let names = |piece: &Piece| piece.stems.iter().map(|stem| stem.name.clone()).collect::<Vec<_>>();
        assert_eq!(names(&mary(0).notes), ["C4", "D4", "E4"]);
        assert_eq!(names(&notes_then_chord(0).tones_and_hammer), ["C4", "E4", "G4", "hammer"]);
        let (take, other) = (drums_and_bass(0, Take::Loop), drums_and_bass(0, Take::Rehearsal));
        assert_eq!(names(&take), ["drums", "bass"]);
        for (a, b) in take.stems.iter().zip(&other.stems) {
            let (a, b) = (a.sound.samples.row(0), b.sound.samples.row(0));
            let n = a.len().min(b.len());
            let (a, b) = (a.slice(ndarray::s![..n]), b.slice(ndarray::s![..n]));
            assert!(a.dot(&b).abs() < 0.3 * (a.dot(&a) * b.dot(&b)).sqrt(), "the takes are alike");
        }
    }
}
