//! [`RoomSettings`]: a shoebox as it is asked for.

use demix_signal::settings::{SettingValue, Settings as _};
use ndarray::Array2;
use serde_json::{Value, json};

use crate::RoomError;
use crate::air::Air;
use crate::bands::{BAND_CENTRES, N_BANDS};
use crate::geometry::Point;
use crate::reverberation::{Inversion, predicted_t60};
use crate::shoebox::Shoebox;
use crate::walls::Walls;

/// Three lengths in m, written `X,Y,Z`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sides(pub Point);

impl SettingValue for Sides {
    const KIND: &'static str = "numbers";
    fn parse(text: &str) -> Result<Self, String> {
        let values = numbers(text)?;
        let n = values.len();
        let sides = values.try_into().map_err(|_| format!("3 numbers X,Y,Z were expected, {n} are given"))?;
        Ok(Self(sides))
    }
    fn to_value(&self) -> Value {
        json!(self.0)
    }
}

/// One reverberation time in s, or one for each octave band.
#[derive(Clone, Debug, PartialEq)]
pub struct Times(pub Vec<f64>);

/// Longest reverberation time, in s.
const LONGEST: f64 = 20.0;

impl SettingValue for Times {
    const KIND: &'static str = "numbers";
    fn parse(text: &str) -> Result<Self, String> {
        let values = numbers(text)?;
        if ![1, N_BANDS].contains(&values.len()) {
            return Err(format!("1 number or {N_BANDS} were expected, {} are given", values.len()));
        }
        match values.iter().find(|value| !(0.0..=LONGEST).contains(*value)) {
            Some(value) => Err(format!("{value} s is out of range: take values from 0 to {LONGEST} s")),
            None => Ok(Self(values)),
        }
    }
    fn to_value(&self) -> Value {
        match self.0.as_slice() {
            [one] => json!(one),
            several => json!(several),
        }
    }
}

fn numbers(text: &str) -> Result<Vec<f64>, String> {
    let number = |word: &str| match word.trim().parse::<f64>() {
        Ok(x) if x.is_finite() => Ok(x),
        _ => Err(format!("'{}' is not a finite number", word.trim())),
    };
    text.split(',').map(number).collect()
}

demix_signal::settings! {
    /// A rectangular room and its air.
    pub struct RoomSettings {
        /// Sides of the room along x (to the right), y (to the front) and z (up).
        pub room: Sides = Sides([6.0, 4.4, 2.5]), unit "m";
        /// Reverberation time, one for all frequencies or seven for the octave bands of 125 Hz to 8 kHz; 0 leaves the
        /// direct sound alone. auto: what given absorption leaves, otherwise 0.3 s.
        pub t60: Option<Times> = None, unit "s";
        /// How absorption is found from T60.
        pub inversion: Inversion = Inversion::ImageSources;
        /// Length of the responses after the emission. auto: until sound has decayed by 60 dB.
        pub length: Option<f64> = None, unit "s", range 0.0 ..= 60.0;
        /// Most reflections of one image. auto: as many as fit into the length.
        pub max_order: Option<usize> = None, range 0.0 ..= 1000.0;
        /// Whether air absorbs, too (ISO 9613-1). A T60 that is given holds with the air, at 1 kHz where it is one for
        /// all frequencies.
        pub air: bool = false;
        /// Temperature of the air that absorbs.
        pub temperature: f64 = 20.0, unit "degrees C", range -20.0 ..= 50.0;
        /// Relative humidity of the air that absorbs.
        pub humidity: f64 = 50.0, unit "%", range 5.0 ..= 100.0;
        /// Speed of sound.
        pub speed_of_sound: f64 = 343.0, unit "m/s", range 100.0 ..= 2000.0;
    }
}

/// T60 where neither it nor absorption is given, in s.
const USUAL_T60: f64 = 0.3;

impl RoomSettings {
    /// The room, with walls of given `absorption` (1 or 6 walls x 1 or 7 bands, see [`Walls::new`]), or else with walls
    /// that give the T60.
    ///
    /// # Errors
    /// Settings out of range; absorption and T60 both given; a T60 that is impossible.
    pub fn shoebox(&self, absorption: Option<&Array2<f64>>) -> Result<Shoebox, RoomError> {
        self.check()?;
        let Sides(size) = self.room;
        if !size.iter().all(|side| *side > 0.0) {
            return Err(RoomError::Size { room: size, most: crate::shoebox::LONGEST_SIDE });
        }
        let speed_of_sound = self.speed_of_sound;
        let air = match self.air {
            true => {
                let air = Air { celsius: self.temperature, humidity: self.humidity };
                BAND_CENTRES.map(|centre| air.exponent(centre)).to_vec()
            }
            false => vec![0.0],
        };
        let walls = match (absorption, &self.t60) {
            (Some(_), Some(_)) => return Err(RoomError::TwoAbsorptions),
            (Some(absorption), None) => Walls::new(absorption)?,
            (None, times) => {
                let times = times.as_ref().map_or(&[USUAL_T60][..], |times| &times.0);
                Walls::for_t60(size, times, &air, speed_of_sound, self.inversion)?
            }
        };
        let mut room = Shoebox { size, walls, air, speed_of_sound, seconds: 0.0, max_order: self.max_order };
        room.seconds = self.length.unwrap_or_else(|| room.predicted_t60s().into_iter().fold(0.0, f64::max));
        Ok(room)
    }
}

impl Shoebox {
    /// The T60 in s that image sources have in the mean over all places, for all frequencies or each octave band.
    pub fn predicted_t60s(&self) -> Vec<f64> {
        let n_bands = self.walls.n_bands().max(self.air.len());
        let of = |band: usize| {
            let column = self.walls.absorption.column(band.min(self.walls.n_bands() - 1));
            let absorption = std::array::from_fn(|wall| column[wall]);
            let air = self.air[band.min(self.air.len() - 1)];
            predicted_t60(&self.size, &absorption, air, self.speed_of_sound, Inversion::ImageSources)
        };
        (0..n_bands).map(of).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    #[test]
    fn a_room_as_it_is_asked_for() {
        let mut settings = RoomSettings::default();
        let room = settings.shoebox(None).unwrap();
        assert!((room.seconds - 0.3).abs() < 1e-6, "{}", room.seconds);
        settings.set("t60", "0").unwrap();
        assert_eq!(settings.shoebox(None).unwrap().seconds, 0.0);
        settings.set("t60", "0.5,0.5,0.5,0.4,0.4,0.3,0.2").unwrap();
        let room = settings.shoebox(None).unwrap();
        assert!((room.seconds - 0.5).abs() < 1e-6 && room.walls.n_bands() == 7);
        settings.set("air", "true").unwrap();
        let with_air = settings.shoebox(None).unwrap();
        assert!(with_air.walls.absorption[[0, 6]] < room.walls.absorption[[0, 6]]);
        assert!((with_air.predicted_t60s()[6] - 0.2).abs() < 1e-6);
        assert!(settings.shoebox(Some(&array![[0.3]])).is_err());
        let given =
            RoomSettings::default().shoebox(Some(&array![[0.3], [0.3], [0.3], [0.3], [0.1], [0.8]])).unwrap();
        assert_eq!(given.walls.absorption[[5, 0]], 0.8);
    }

    #[test]
    fn values_that_are_none_are_refused() {
        let refuse =
            |name: &str, value: &str| RoomSettings::default().set(name, value).unwrap_err().to_string();
        assert_eq!(refuse("room", "3,4"), "room=3,4: 3 numbers X,Y,Z were expected, 2 are given");
        assert_eq!(refuse("room", "3,4,x"), "room=3,4,x: 'x' is not a finite number");
        assert!(refuse("t60", "30").contains("30 s is out of range: take values from 0 to 20 s"));
        assert!(refuse("t60", "0.1,0.2").contains("1 number or 7 were expected, 2 are given"));
        let mut flat = RoomSettings::default();
        flat.set("room", "3,4,0").unwrap();
        assert!(flat.shoebox(None).unwrap_err().to_string().contains("3 x 4 x 0 m"));
        let wrong = RoomSettings::default().shoebox(Some(&array![[0.3], [0.2]])).unwrap_err().to_string();
        assert!(wrong.contains("2 x 1 values"), "{wrong}");
        let wrong = RoomSettings::default().shoebox(Some(&array![[1.3]])).unwrap_err().to_string();
        assert!(wrong.contains("absorption 1.3 of wall left"), "{wrong}");
    }
}
