//! [`RoomError`]: what cannot be simulated, with the numbers.

use demix_signal::settings::SettingError;

use crate::geometry::Point;

/// A scene that cannot be. Sources, microphones and bands count from 1 in the messages.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RoomError {
    /// Something stands outside of the walls.
    #[error(
        "{what} {number} at ({}) m lies outside of the room of {} m: move it to the inside, or take a larger room",
        comma(.position), size(.room)
    )]
    Outside {
        /// "source" or "microphone".
        what: &'static str,
        /// Which, from 1.
        number: usize,
        /// Where, in m.
        position: Point,
        /// The room, in m.
        room: Point,
    },
    /// A source in a microphone: the direct sound would be infinitely loud.
    #[error(
        "source {source_number} is {distance:.4} m from microphone {microphone}, it must be {least} m at the least: move one of them"
    )]
    TooClose {
        /// Which source, from 1.
        source_number: usize,
        /// Which microphone, from 1.
        microphone: usize,
        /// Their distance, in m.
        distance: f64,
        /// The smallest distance, in m.
        least: f64,
    },
    /// The room has no size.
    #[error("the room is {} m: each side must be more than 0 m and at most {most} m", size(.room))]
    Size {
        /// The sides, in m.
        room: Point,
        /// The longest side allowed, in m.
        most: f64,
    },
    /// No wall absorbs so much.
    #[error(
        "a T60 of {t60} s is impossible in a room of {} m: walls that absorb {percent:.0} % of the sound leave {shortest:.3} s ({formula}); ask for {shortest:.3} s or more, take a smaller room, or 0 s for no reflections at all",
        size(.room)
    )]
    T60TooShort {
        /// What was asked for, in s.
        t60: f64,
        /// The room, in m.
        room: Point,
        /// Share of the energy that the walls may take at the most, in %.
        percent: f64,
        /// What such walls leave, in s.
        shortest: f64,
        /// Which formula says so.
        formula: &'static str,
    },
    /// The air absorbs more than the asked T60 allows.
    #[error(
        "a T60 of {t60} s is impossible: the air alone leaves {longest:.2} s at {band:.0} Hz; ask for less, or leave out the air (air=false)"
    )]
    T60TooLong {
        /// What was asked for, in s.
        t60: f64,
        /// What the air leaves, in s.
        longest: f64,
        /// Where, in Hz.
        band: f64,
    },
    /// Absorption that no wall has.
    #[error("absorption {value} of wall {wall} is out of range: take values from 0 to 1")]
    Absorption {
        /// Name of the wall.
        wall: &'static str,
        /// Share of the energy.
        value: f64,
    },
    /// Walls or bands that do not fit.
    #[error(
        "absorption has {rows} x {columns} values: give 1 or 6 walls (rows) of 1 or {bands} octave bands (columns)"
    )]
    AbsorptionShape {
        /// Walls.
        rows: usize,
        /// Bands.
        columns: usize,
        /// How many bands there are.
        bands: usize,
    },
    /// Walls and what they should leave, both.
    #[error("absorption and T60 are both given: one follows from the other, leave one out")]
    TwoAbsorptions,
    /// Several values of T60 that are not one per band.
    #[error("{found} values of T60: give 1, or 1 for each of {bands} octave bands")]
    T60Count {
        /// How many were given.
        found: usize,
        /// How many bands there are.
        bands: usize,
    },
    /// Reflections without end.
    #[error(
        "{images:.1e} reflections for each source and microphone are too many, {most:.1e} are possible: take a shorter length ({seconds:.2} s now), less T60 or a larger room"
    )]
    TooManyImages {
        /// How many there would be.
        images: f64,
        /// How many are possible.
        most: f64,
        /// How long the response would be, in s.
        seconds: f64,
    },
    /// An array that is none.
    #[error(
        "'{text}' is no array: {problem}; write line:M:SPACING or circle:M:RADIUS (line:2:0.0566 or line:2:5.66cm), or name a file of positions"
    )]
    Array {
        /// As given.
        text: String,
        /// What is wrong.
        problem: String,
    },
    /// Counts that must agree.
    #[error("{found} {what} for {expected} {of}: {remedy}")]
    Count {
        /// What there is too little or too much of.
        what: &'static str,
        /// How many.
        found: usize,
        /// Of what else.
        of: &'static str,
        /// How many of these.
        expected: usize,
        /// What to do.
        remedy: &'static str,
    },
    /// Responses, or sources, of different shapes.
    #[error("{what} {number} has {found}, number 1 has {expected}: {remedy}")]
    Mismatch {
        /// "source" or "response".
        what: &'static str,
        /// Which, from 1.
        number: usize,
        /// What it has, with unit.
        found: String,
        /// What the first one has.
        expected: String,
        /// What to do.
        remedy: &'static str,
    },
    /// A level for something silent.
    #[error("{what} is silent: {asked} has no meaning; leave it out")]
    Silent {
        /// What is silent.
        what: String,
        /// What cannot be done.
        asked: &'static str,
    },
    /// A protocol for other numbers of sources.
    #[error(
        "preset {name} is for 2 or 3 sources, {found} are given: choose --room, --t60 and --angles yourself"
    )]
    Protocol {
        /// Its name.
        name: &'static str,
        /// Number of sources.
        found: usize,
    },
    /// A setting out of range.
    #[error(transparent)]
    Setting(#[from] SettingError),
}

fn metres(x: &f64) -> String {
    // three decimals, without those that say nothing
    let text = format!("{x:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_string()
}

fn size(room: &Point) -> String {
    room.each_ref().map(metres).join(" x ")
}

fn comma(position: &Point) -> String {
    position.each_ref().map(metres).join(", ")
}
