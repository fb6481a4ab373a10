//! [`Shoebox`]: impulse responses of a rectangular room by image sources (Allen and Berkley 1979).
//!
//! A source at s between walls at 0 and L is mirrored to n L + s for even n and (n + 1) L - s for odd n; its sound has
//! met the wall at L ceil(n / 2) times and the wall at 0 floor(n / 2) times (for negative n the other way round). Each
//! of the images (nx, ny, nz) adds, at its distance d,
//!
//! h(t) += 1 / d · Π sqrt(1 - a_wall) · e^(-m d / 2) · sinc(t - d fs / c) · hann(t),
//!
//! a pulse between samples of [`FILTER_LENGTH`] taps. Reflections keep the sign of the pressure, as rigid walls do; no
//! high-pass filter is applied, so responses hold the slow swell below some 20 Hz that such walls give.

use ndarray::{Array1, Array2};
use rayon::prelude::*;

use crate::RoomError;
use crate::bands::{N_BANDS, join};
use crate::geometry::{Point, check_positions, distance};
use crate::walls::Walls;

/// Taps of the pulse between samples: a sinc under a Hann window.
pub const FILTER_LENGTH: usize = 81;
/// Responses begin so many samples before the emission: half a pulse.
pub const FILTER_DELAY: usize = FILTER_LENGTH / 2;

/// Longest side of a room, in m.
pub(crate) const LONGEST_SIDE: f64 = 1e4;
/// Images of one response that are computed within minutes.
const MOST_IMAGES: f64 = 5e8;
/// Pieces of the sum of images: each is summed alone, then all in order, so that threads change nothing.
const N_PIECES: usize = 16;

/// A rectangular room.
#[derive(Clone, Debug, PartialEq)]
pub struct Shoebox {
    /// Sides along x, y, z, in m.
    pub size: Point,
    /// Absorption.
    pub walls: Walls,
    /// What the air takes from the energy, as exponents per m: one value for all frequencies or one for each of
    /// [`BAND_CENTRES`](crate::BAND_CENTRES).
    pub air: Vec<f64>,
    /// In m/s.
    pub speed_of_sound: f64,
    /// How long responses are, in s after the emission; the direct sound is always in.
    pub seconds: f64,
    /// Most reflections of one image, if there is a limit.
    pub max_order: Option<usize>,
}

impl Shoebox {
    /// A room whose walls absorb everything, with responses of `seconds` s at 343 m/s.
    pub fn new(size: Point, seconds: f64) -> Self {
        Self {
            size,
            walls: Walls::uniform(1.0),
            air: vec![0.0],
            speed_of_sound: 343.0,
            seconds,
            max_order: None,
        }
    }

    /// The response of every source, each of shape (microphones, samples), all of one length.
    ///
    /// Sample t is the pressure (t - [`FILTER_DELAY`]) / `sample_rate` after the emission of a pulse whose pressure is
    /// 1 at 1 m (no factor 1 / (4 pi)).
    ///
    /// # Errors
    /// Sides, absorption or positions that cannot be; more images than can be computed.
    pub fn responses(
        &self,
        sources: &[Point],
        microphones: &[Point],
        sample_rate: u32,
    ) -> Result<Vec<Array2<f64>>, RoomError> {
        let reach = self.check(sources, microphones)?;
        let n_samples = (reach / self.speed_of_sound * f64::from(sample_rate)) as usize + FILTER_LENGTH;
        let gains = self.wall_gains(reach);
        let mut responses = Vec::with_capacity(sources.len());
        for source in sources {
            let mut response = Array2::zeros((microphones.len(), n_samples));
            for (m, microphone) in microphones.iter().enumerate() {
                let samples = self.response(source, microphone, sample_rate, reach, n_samples, &gains);
                response.row_mut(m).assign(&Array1::from(samples));
            }
            responses.push(response);
        }
        Ok(responses)
    }

    /// How far the farthest image is, in m.
    fn check(&self, sources: &[Point], microphones: &[Point]) -> Result<f64, RoomError> {
        if !self.size.iter().all(|side| (f64::MIN_POSITIVE..=LONGEST_SIDE).contains(side)) {
            return Err(RoomError::Size { room: self.size, most: LONGEST_SIDE });
        }
        self.walls.check()?;
        check_positions(&self.size, sources, microphones)?;
        let direct =
            sources.iter().flat_map(|s| microphones.iter().map(|m| distance(s, m))).fold(0.0, f64::max);
        let mut reach = (self.seconds * self.speed_of_sound).max(direct);
        if let Some(order) = self.max_order {
            // no image with so many reflections is farther
            let diagonal = distance(&self.size, &[0.0; 3]);
            reach = reach.min((order + 1) as f64 * diagonal);
        }
        let images = 4.0 / 3.0 * std::f64::consts::PI * reach.powi(3) / self.size.iter().product::<f64>();
        let reflects = self.walls.absorption.iter().any(|a| *a < 1.0);
        if reflects && (images > MOST_IMAGES || images.is_nan()) {
            let seconds = reach / self.speed_of_sound;
            return Err(RoomError::TooManyImages { images, most: MOST_IMAGES, seconds });
        }
        Ok(reach)
    }

    /// For every axis and number of images, from the most negative on: gain of the pressure in each band.
    fn wall_gains(&self, reach: f64) -> [AxisGains; 3] {
        let n_bands = self.walls.n_bands().max(self.air.len());
        std::array::from_fn(|axis| {
            let most = (reach / self.size[axis]) as i64 + 1;
            let gain = |n: i64, band: usize| {
                let band = band.min(self.walls.n_bands() - 1);
                let reflect = |wall: usize| (1.0 - self.walls.absorption[[wall, band]]).sqrt();
                // the side that is met first is met once more where the number is odd
                let (first, second) = if n > 0 { (2 * axis + 1, 2 * axis) } else { (2 * axis, 2 * axis + 1) };
                let met = n.unsigned_abs() as i32;
                reflect(first).powi((met + 1) / 2) * reflect(second).powi(met / 2)
            };
            let gains =
                (-most..=most).map(|n| std::array::from_fn(|b| if b < n_bands { gain(n, b) } else { 0.0 }));
            AxisGains { most, gains: gains.collect() }
        })
    }

    fn response(
        &self,
        source: &Point,
        microphone: &Point,
        sample_rate: u32,
        reach: f64,
        n_samples: usize,
        gains: &[AxisGains; 3],
    ) -> Vec<f64> {
        let n_bands = self.walls.n_bands().max(self.air.len());
        let pulse = Pulse::new();
        let per_metre = f64::from(sample_rate) / self.speed_of_sound;
        let order = self.max_order.map_or(i64::MAX, |order| order as i64);
        // along one axis: how far the image n is
        let along = |axis: usize, n: i64| {
            let (s, side) = (source[axis], self.size[axis]);
            let image = if n % 2 == 0 { n as f64 * side + s } else { (n + 1) as f64 * side - s };
            image - microphone[axis]
        };
        let [gx, gy, gz] = gains;
        // interleaved, so that all pieces have near and far images
        let piece = |piece: usize| {
            let mut bands = vec![vec![0.0; n_samples]; n_bands];
            for nx in (-gx.most..=gx.most).skip(piece).step_by(N_PIECES) {
                let x2 = along(0, nx).powi(2);
                if x2 > reach * reach || nx.abs() > order || gx.is_nothing(nx) {
                    continue;
                }
                for ny in -gy.most..=gy.most {
                    let xy2 = x2 + along(1, ny).powi(2);
                    let left = order - nx.abs() - ny.abs();
                    if xy2 > reach * reach || left < 0 || gy.is_nothing(ny) {
                        continue;
                    }
                    for nz in -gz.most..=gz.most {
                        let d2 = xy2 + along(2, nz).powi(2);
                        if d2 > reach * reach || nz.abs() > left || gz.is_nothing(nz) {
                            continue;
                        }
                        let d = d2.sqrt();
                        let (x, y, z) = (gx.at(nx), gy.at(ny), gz.at(nz));
                        let gain = |band: usize| {
                            let air = (-0.5 * self.air[band.min(self.air.len() - 1)] * d).exp();
                            x[band] * y[band] * z[band] * air / d
                        };
                        pulse.add(&mut bands, d * per_metre, gain);
                    }
                }
            }
            bands
        };
        let pieces: Vec<Vec<Vec<f64>>> = (0..N_PIECES).into_par_iter().map(piece).collect();
        let mut pieces = pieces.into_iter();
        let mut bands = pieces.next().unwrap_or_default();
        for piece in pieces {
            for (sum, part) in bands.iter_mut().flatten().zip(piece.iter().flatten()) {
                *sum += part;
            }
        }
        if n_bands > 1 { join(&bands, sample_rate) } else { bands.swap_remove(0) }
    }
}

/// Gains of the images along one axis.
struct AxisGains {
    /// Images go from minus this to this.
    most: i64,
    gains: Vec<[f64; N_BANDS]>,
}

impl AxisGains {
    fn at(&self, n: i64) -> &[f64; N_BANDS] {
        &self.gains[(n + self.most) as usize]
    }

    fn is_nothing(&self, n: i64) -> bool {
        self.at(n).iter().all(|gain| *gain == 0.0)
    }
}

/// A pulse between samples: window(k) sinc(k - f) for k = -[`FILTER_DELAY`]..=[`FILTER_DELAY`] and 0 <= f < 1.
///
/// As sin(pi (k - f)) = -(-1)^k sin(pi f) and 1 / (±k - f) = (f ± k) / (k^2 - f^2), one sine serves all taps and one
/// division two of them.
struct Pulse {
    /// -(-1)^k window(k) / pi for k = 0..=FILTER_DELAY
    weights: [f64; FILTER_DELAY + 1],
}

impl Pulse {
    fn new() -> Self {
        let weights = std::array::from_fn(|k| {
            let phase = std::f64::consts::PI * k as f64 / FILTER_DELAY as f64;
            let sign = if k.is_multiple_of(2) { -1.0 } else { 1.0 };
            sign * (0.5 + 0.5 * phase.cos()) / std::f64::consts::PI
        });
        Self { weights }
    }

    /// Adds the pulse at `time` samples, in every band with its gain.
    fn add(&self, bands: &mut [Vec<f64>], time: f64, gain: impl Fn(usize) -> f64) {
        let first = time as usize;
        let f = time - first as f64;
        let mut taps = [0.0; FILTER_LENGTH];
        if f == 0.0 {
            taps[FILTER_DELAY] = 1.0;
        } else {
            let sine = (std::f64::consts::PI * f).sin();
            taps[FILTER_DELAY] = sine * self.weights[0] / -f;
            let (before, after) = taps.split_at_mut(FILTER_DELAY);
            let pairs = before.iter_mut().rev().zip(&mut after[1..]).zip(&self.weights[1..]);
            for (i, ((left, right), weight)) in pairs.enumerate() {
                let k = (i + 1) as f64;
                let share = sine * weight / (k * k - f * f);
                *left = share * (f - k);
                *right = share * (f + k);
            }
        }
        for (b, band) in bands.iter_mut().enumerate() {
            let gain = gain(b);
            for (y, tap) in band[first..first + FILTER_LENGTH].iter_mut().zip(&taps) {
                *y += gain * tap;
            }
        }
    }
}
