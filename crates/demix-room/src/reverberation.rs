//! From absorption to reverberation time and back.
//!
//! V volume, S surface, c speed of sound, a absorption, m the air's exponent per m, L_i the sides of the room:
//!
//! | formula | T60 |
//! | --- | --- |
//! | Sabine (1922) | 24 ln 10 V / (c (S a + 4 m V)) |
//! | Eyring (1930) | 24 ln 10 V / (c (-S ln(1 - a) + 4 m V)) |
//! | image sources | of the decay below |
//!
//! The first two hold where sound is diffuse. Specular reflections are not: sound that runs along the long side of a
//! room meets fewer walls and decays later, so that responses of image sources reverberate longer than either formula
//! says (by a third in a room of 6 x 4.4 x 2.5 m). What they do can be computed (Lehmann and Johansson 2008, 'Prediction
//! of energy decay in room impulse responses simulated with an image-source model', section II): the images at distance
//! d lie in all directions n alike, and their sound crossed the walls of axis i d |n_i| / L_i times, so that the energy
//! after d is proportional to
//!
//! E(d) = ∫ e^(-k(n) d) dn,  k(n) = m - Σ_i |n_i| / L_i (ln(1 - a_i0) + ln(1 - a_i1)) / 2,
//!
//! and Schroeder's integral of it to ∫ e^(-k(n) d) / k(n) dn. T60 is twice the time from -5 to -35 dB of the regression
//! line through that (ISO 3382-1's T30), as [`decay`](crate::decay()) measures it.

use crate::RoomError;
use crate::geometry::Point;

demix_signal::choices! {
    /// How absorption is found from T60.
    pub enum Inversion {
        /// The decay that image sources have, averaged over all places: what is asked for is what is measured.
        ImageSources = "image-sources",
        /// Sabine's formula, for rooms with little absorption: responses reverberate longer than asked.
        Sabine = "sabine",
        /// Eyring's formula: responses reverberate longer than asked.
        Eyring = "eyring",
    }
}

/// Walls that absorb more than this share of the energy are no walls: a T60 that needs it is refused.
pub const MAX_ABSORPTION: f64 = 0.99;

/// 24 ln 10: sound travels 60 dB of decay.
const SIXTY: f64 = 24.0 * std::f64::consts::LN_10;

/// What a wall that absorbs everything reflects of the energy, where only the length of the decay is asked for: -60 dB.
const OPEN: f64 = 1e-6;

/// The reverberation time in s by a formula; infinite where nothing absorbs.
///
/// `absorption` holds the six walls' shares of the energy in one band, `air` the air's exponent per m.
pub fn predicted_t60(
    size: &Point,
    absorption: &[f64; 6],
    air: f64,
    speed_of_sound: f64,
    by: Inversion,
) -> f64 {
    let [x, y, z] = *size;
    let (volume, areas) = (x * y * z, [y * z, y * z, x * z, x * z, x * y, x * y]);
    let surface: f64 = areas.iter().sum();
    let absorbed: f64 = areas.iter().zip(absorption).map(|(area, a)| area * a).sum();
    let walls = match by {
        Inversion::Sabine => absorbed,
        Inversion::Eyring => -surface * (1.0 - absorbed / surface).ln(),
        Inversion::ImageSources => {
            if absorption.iter().all(|&a| a >= 1.0) {
                return 0.0;
            }
            // an open window takes all, but sound along the other walls lives on: its rate has to stay a number
            let lost = |a: f64| -(1.0 - a).max(OPEN).ln();
            let per_metre: [f64; 3] = std::array::from_fn(|axis| {
                (lost(absorption[2 * axis]) + lost(absorption[2 * axis + 1])) / 2.0 / size[axis]
            });
            return image_source_t60(&per_metre, air) / speed_of_sound;
        }
    };
    SIXTY * volume / (speed_of_sound * (walls + 4.0 * air * volume))
}

/// The absorption of all walls that gives `t60` (in s); 1 for 0 s.
pub(crate) fn absorption_for(
    size: &Point,
    t60: f64,
    air: f64,
    band: f64,
    speed_of_sound: f64,
    by: Inversion,
) -> Result<f64, RoomError> {
    if t60 == 0.0 {
        return Ok(1.0);
    }
    let of = |absorption: f64| predicted_t60(size, &[absorption; 6], air, speed_of_sound, by);
    let (shortest, longest) = (of(MAX_ABSORPTION), of(0.0));
    if t60 < shortest || t60.is_nan() {
        let percent = 100.0 * MAX_ABSORPTION;
        // rounded up, so that the time in the message is possible
        let shortest = (1000.0 * shortest).ceil() / 1000.0;
        return Err(RoomError::T60TooShort { t60, room: *size, percent, shortest, formula: by.name() });
    }
    if t60 >= longest {
        return Err(RoomError::T60TooLong { t60, longest, band });
    }
    // T60 falls as absorption grows; halving the range of ln(1 - a) ends at the limit of rounding
    let (mut low, mut high) = (0.0, -(1.0 - MAX_ABSORPTION).ln());
    for _ in 0..60 {
        let middle = (low + high) / 2.0;
        if of(1.0 - f64::exp(-middle)) > t60 { low = middle } else { high = middle }
    }
    Ok(1.0 - f64::exp(-(low + high) / 2.0))
}

/// Directions of one octant for each of two angles; the error of T60 is below 1e-3.
const N_ANGLES: usize = 24;

/// Path in m after which sound that loses `per_metre[i]` |n_i| of its energy per m has decayed by 60 dB.
fn image_source_t60(per_metre: &Point, air: f64) -> f64 {
    let middle = |i: usize| (i as f64 + 0.5) / N_ANGLES as f64;
    let mut rates = Vec::with_capacity(N_ANGLES * N_ANGLES);
    for cosine in (0..N_ANGLES).map(middle) {
        let sine = (1.0 - cosine * cosine).sqrt();
        for phi in (0..N_ANGLES).map(|i| std::f64::consts::FRAC_PI_2 * middle(i)) {
            let n = [sine * phi.cos(), sine * phi.sin(), cosine];
            rates.push(air + (0..3).map(|axis| n[axis] * per_metre[axis]).sum::<f64>());
        }
    }
    let slowest = rates.iter().copied().fold(f64::INFINITY, f64::min);
    if slowest <= 0.0 {
        return f64::INFINITY;
    }
    let total: f64 = rates.iter().map(|k| 1.0 / k).sum();
    let level = |d: f64| 10.0 * (rates.iter().map(|k| (-k * d).exp() / k).sum::<f64>() / total).log10();
    let reaches = |db: f64| {
        let (mut low, mut high) = (0.0, -db / 10.0 * std::f64::consts::LN_10 / slowest);
        for _ in 0..30 {
            let middle = (low + high) / 2.0;
            if level(middle) > db { low = middle } else { high = middle }
        }
        (low + high) / 2.0
    };
    let (start, end) = (reaches(-5.0), reaches(-35.0));
    let n = 32;
    let points = (0..n).map(|i| {
        let d = start + (end - start) * i as f64 / (n - 1) as f64;
        (d, level(d))
    });
    -60.0 / slope(points)
}

/// Slope of the regression line.
pub(crate) fn slope(points: impl Iterator<Item = (f64, f64)> + Clone) -> f64 {
    let n = points.clone().count() as f64;
    let (sx, sy) = points.clone().fold((0.0, 0.0), |(sx, sy), (x, y)| (sx + x, sy + y));
    let (mx, my) = (sx / n, sy / n);
    let (xy, xx) =
        points.fold((0.0, 0.0), |(xy, xx), (x, y)| (xy + (x - mx) * (y - my), xx + (x - mx).powi(2)));
    xy / xx
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: Point = [6.0, 4.4, 2.5];

    #[test]
    fn formulas_by_hand() {
        // 66 m^3, 104.8 m^2: 0.1611 V / (S a) at 343 m/s
        let sabine = predicted_t60(&SIZE, &[0.3; 6], 0.0, 343.0, Inversion::Sabine);
        assert!((sabine - 0.16111 * 66.0 / (104.8 * 0.3)).abs() < 1e-4, "{sabine}");
        let eyring = predicted_t60(&SIZE, &[0.3; 6], 0.0, 343.0, Inversion::Eyring);
        assert!((eyring / sabine - 0.3 / -(0.7f64.ln())).abs() < 1e-12);
        // different walls weigh by their areas
        let floor = predicted_t60(&SIZE, &[0.0, 0.0, 0.0, 0.0, 0.5, 0.0], 0.0, 343.0, Inversion::Sabine);
        assert!((floor - 0.16111 * 66.0 / (26.4 * 0.5)).abs() < 1e-4);
    }

    #[test]
    fn specular_sound_decays_later_in_flat_rooms_than_in_diffuse_ones() {
        let ratio = |size: Point| {
            let of = |by| predicted_t60(&size, &[0.3; 6], 0.0, 343.0, by);
            of(Inversion::ImageSources) / of(Inversion::Eyring)
        };
        // even in a cube the directions decay at rates between 1 and sqrt(3)
        assert!((1.0..1.1).contains(&ratio([3.0; 3])), "{}", ratio([3.0; 3]));
        assert!(ratio(SIZE) > 1.15, "{}", ratio(SIZE));
        assert!(ratio([20.0, 15.0, 2.5]) > ratio(SIZE));
    }

    #[test]
    fn an_open_window_does_not_end_all_echoes() {
        let of = |window: f64| {
            predicted_t60(&SIZE, &[0.3, 0.3, 0.3, 0.9, window, 0.1], 0.0, 343.0, Inversion::ImageSources)
        };
        assert!(of(1.0) > 0.2 && of(1.0) < of(0.999), "{} {}", of(1.0), of(0.999));
        assert_eq!(predicted_t60(&SIZE, &[1.0; 6], 0.0, 343.0, Inversion::ImageSources), 0.0);
    }

    #[test]
    fn inversion_gives_the_time_back() {
        for by in [Inversion::Sabine, Inversion::Eyring, Inversion::ImageSources] {
            for (t60, air) in [(0.15, 0.0), (0.3, 0.003), (1.2, 0.001), (8.0, 0.0)] {
                let a = absorption_for(&SIZE, t60, air, 1000.0, 343.0, by).unwrap();
                let again = predicted_t60(&SIZE, &[a; 6], air, 343.0, by);
                assert!((again / t60 - 1.0).abs() < 1e-6, "{by} {t60}: {again}");
            }
            assert_eq!(absorption_for(&SIZE, 0.0, 0.0, 1000.0, 343.0, by).unwrap(), 1.0);
        }
    }

    #[test]
    fn impossible_times_are_refused_with_what_is_possible() {
        for by in [Inversion::Sabine, Inversion::Eyring, Inversion::ImageSources] {
            let error = absorption_for(&SIZE, 0.01, 0.0, 1000.0, 343.0, by).unwrap_err();
            let RoomError::T60TooShort { shortest, .. } = error else { panic!("{error}") };
            assert!(absorption_for(&SIZE, shortest, 0.0, 1000.0, 343.0, by).is_ok(), "{by} {shortest}");
            assert!(
                error.to_string().contains("0.01 s is impossible in a room of 6 x 4.4 x 2.5 m"),
                "{error}"
            );
            let error = absorption_for(&SIZE, 9.0, 0.01, 8000.0, 343.0, by).unwrap_err().to_string();
            assert!(
                error.contains("T60 of 9 s is impossible: the air alone leaves 4.03 s at 8000 Hz"),
                "{error}"
            );
            assert!(absorption_for(&SIZE, f64::NAN, 0.0, 1000.0, 343.0, by).is_err());
        }
    }
}
