//! [`Walls`]: how much sound the six sides of a room swallow, by octave bands.

use ndarray::Array2;

use crate::RoomError;
use crate::bands::{BAND_CENTRES, N_BANDS};
use crate::geometry::Point;
use crate::reverberation::{Inversion, absorption_for};

/// The walls in the order of their absorption: where x, y, z is 0, and opposite.
pub const WALL_NAMES: [&str; 6] = ["left", "right", "back", "front", "floor", "ceiling"];

/// Absorption of the energy at each reflection.
#[derive(Clone, Debug, PartialEq)]
pub struct Walls {
    /// Shares of the energy 0..1, shape (6, bands): rows as in [`WALL_NAMES`], one column for all frequencies or
    /// one for each of [`BAND_CENTRES`].
    pub absorption: Array2<f64>,
}

impl Walls {
    /// The same absorption everywhere.
    pub fn uniform(absorption: f64) -> Self {
        Self { absorption: Array2::from_elem((6, 1), absorption) }
    }

    /// Absorption of shape (1 or 6 walls, 1 or 7 bands); what is 1 holds for all.
    ///
    /// # Errors
    /// Other shapes, values out of 0..1.
    pub fn new(absorption: &Array2<f64>) -> Result<Self, RoomError> {
        let (rows, columns) = absorption.dim();
        if ![1, 6].contains(&rows) || ![1, N_BANDS].contains(&columns) {
            return Err(RoomError::AbsorptionShape { rows, columns, bands: N_BANDS });
        }
        let walls = Self {
            absorption: Array2::from_shape_fn((6, columns), |(wall, band)| absorption[[wall % rows, band]]),
        };
        walls.check()?;
        Ok(walls)
    }

    /// Walls, all alike, that give a reverberation time (in s): one value, or one for each octave band.
    ///
    /// `air` holds the exponents of the air's attenuation per m ([`Air::exponent`](crate::air::Air::exponent)), one
    /// or one per band: the T60 asked for is that of walls and air together. A single T60 is met at 1 kHz.
    ///
    /// # Errors
    /// A T60 that no wall gives, with the one that is possible.
    pub fn for_t60(
        size: Point,
        t60: &[f64],
        air: &[f64],
        speed_of_sound: f64,
        inversion: Inversion,
    ) -> Result<Self, RoomError> {
        if ![1, N_BANDS].contains(&t60.len()) {
            return Err(RoomError::T60Count { found: t60.len(), bands: N_BANDS });
        }
        let middle = BAND_CENTRES.iter().position(|&centre| centre == 1000.0).unwrap_or(0);
        let one = t60.len() == 1;
        let of_bands: Result<Vec<f64>, RoomError> = (0..t60.len())
            .map(|column| {
                let band = if one { middle } else { column };
                let air = air[band.min(air.len() - 1)];
                absorption_for(&size, t60[column], air, BAND_CENTRES[band], speed_of_sound, inversion)
            })
            .collect();
        let of_bands = of_bands?;
        Ok(Self { absorption: Array2::from_shape_fn((6, of_bands.len()), |(_, band)| of_bands[band]) })
    }

    /// Number of bands that differ: 1, or all.
    pub fn n_bands(&self) -> usize {
        self.absorption.ncols()
    }

    pub(crate) fn check(&self) -> Result<(), RoomError> {
        for ((wall, _), &value) in self.absorption.indexed_iter() {
            if !(0.0..=1.0).contains(&value) {
                return Err(RoomError::Absorption { wall: WALL_NAMES[wall], value });
            }
        }
        Ok(())
    }
}
