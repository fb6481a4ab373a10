//! Where things stand: positions in metres, x to the right, y to the front, z up; the origin is a corner of the room.

use crate::RoomError;

/// x, y, z in m.
pub type Point = [f64; 3];

/// Sources stay so far from microphones, in m: the direct sound grows as 1 / distance.
pub const MIN_DISTANCE: f64 = 0.01;

/// How microphones stand around the centre of their array.
#[derive(Clone, Debug, PartialEq)]
pub enum ArrayShape {
    /// Along x, microphone 1 at the left (-x).
    Line {
        /// Number of microphones.
        n: usize,
        /// Distance of neighbours, in m.
        spacing: f64,
    },
    /// A horizontal circle, microphone 1 in front (+y), the others clockwise seen from above.
    Circle {
        /// Number of microphones.
        n: usize,
        /// In m.
        radius: f64,
    },
    /// Positions relative to the centre, in m.
    Custom(Vec<Point>),
}

impl ArrayShape {
    /// Reads `line:M:SPACING` or `circle:M:RADIUS`; lengths are in m, or end in m, cm or mm.
    ///
    /// # Errors
    /// [`RoomError::Array`] for any other text.
    pub fn parse(text: &str) -> Result<Self, RoomError> {
        let wrong = |problem: String| RoomError::Array { text: text.into(), problem };
        let parts: Vec<&str> = text.split(':').map(str::trim).collect();
        let &[kind, n, length] = parts.as_slice() else {
            return Err(wrong(format!("it has {} parts, not 3", parts.len())));
        };
        let n = match n.parse::<usize>() {
            Ok(n @ 1..=MAX_MICROPHONES) => n,
            _ => {
                return Err(wrong(format!(
                    "'{n}' is not a number of microphones from 1 to {MAX_MICROPHONES}"
                )));
            }
        };
        let length =
            metres(length).ok_or_else(|| wrong(format!("'{length}' is not a length of more than 0 m")))?;
        match kind {
            "line" => Ok(Self::Line { n, spacing: length }),
            "circle" => Ok(Self::Circle { n, radius: length }),
            _ => Err(wrong(format!("there is no kind '{kind}'"))),
        }
    }

    /// Number of microphones.
    pub fn n_microphones(&self) -> usize {
        match self {
            Self::Line { n, .. } | Self::Circle { n, .. } => *n,
            Self::Custom(positions) => positions.len(),
        }
    }

    /// Positions in the room of the array around `centre`, in m.
    pub fn positions(&self, centre: Point) -> Vec<Point> {
        let [x, y, z] = centre;
        match self {
            Self::Line { n, spacing } => {
                (0..*n).map(|m| [x + (m as f64 - (*n as f64 - 1.0) / 2.0) * spacing, y, z]).collect()
            }
            Self::Circle { n, radius } => {
                (0..*n).map(|m| place_source(centre, 360.0 * m as f64 / *n as f64, *radius)).collect()
            }
            Self::Custom(positions) => {
                positions.iter().map(|[dx, dy, dz]| [x + dx, y + dy, z + dz]).collect()
            }
        }
    }
}

impl std::fmt::Display for ArrayShape {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Line { n, spacing } => write!(f, "line:{n}:{spacing}"),
            Self::Circle { n, radius } => write!(f, "circle:{n}:{radius}"),
            Self::Custom(positions) => write!(f, "{} given positions", positions.len()),
        }
    }
}

/// More than any file of sound has channels.
const MAX_MICROPHONES: usize = 1024;

fn metres(text: &str) -> Option<f64> {
    let units = [("mm", 1e-3), ("cm", 1e-2), ("m", 1.0)];
    let (digits, unit) = units
        .iter()
        .find_map(|(name, unit)| text.strip_suffix(name).map(|digits| (digits, *unit)))
        .unwrap_or((text, 1.0));
    let length = digits.trim().parse::<f64>().ok()? * unit;
    (length.is_finite() && length > 0.0).then_some(length)
}

/// The place `distance` m from `centre` at `angle` degrees from broadside (+y), positive to the right (+x), at the
/// same height.
pub fn place_source(centre: Point, angle: f64, distance: f64) -> Point {
    let (sine, cosine) = angle.to_radians().sin_cos();
    [centre[0] + distance * sine, centre[1] + distance * cosine, centre[2]]
}

/// Distance of two points, in m.
pub fn distance(a: &Point, b: &Point) -> f64 {
    (0..3).map(|i| (a[i] - b[i]).powi(2)).sum::<f64>().sqrt()
}

/// Whether all stand inside the room of `size`, sources apart from microphones.
///
/// # Errors
/// [`RoomError::Outside`] or [`RoomError::TooClose`] for the first that does not.
pub fn check_positions(size: &Point, sources: &[Point], microphones: &[Point]) -> Result<(), RoomError> {
    for (what, positions) in [("source", sources), ("microphone", microphones)] {
        for (i, position) in positions.iter().enumerate() {
            // a position that is not a number is nowhere
            if !(0..3).all(|axis| position[axis] > 0.0 && position[axis] < size[axis]) {
                return Err(RoomError::Outside { what, number: i + 1, position: *position, room: *size });
            }
        }
    }
    for (n, source) in sources.iter().enumerate() {
        for (m, microphone) in microphones.iter().enumerate() {
            let distance = distance(source, microphone);
            if distance < MIN_DISTANCE {
                let (source_number, microphone) = (n + 1, m + 1);
                return Err(RoomError::TooClose { source_number, microphone, distance, least: MIN_DISTANCE });
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrays_are_read_and_stand_around_their_centre() {
        let line = ArrayShape::parse("line:2:5.66cm").unwrap();
        let positions = line.positions([3.0, 1.0, 1.2]);
        assert!((positions[0][0] - 2.9717).abs() < 1e-12 && (positions[1][0] - 3.0283).abs() < 1e-12);
        assert_eq!(ArrayShape::parse("line:2:0.05").unwrap(), ArrayShape::Line { n: 2, spacing: 0.05 });
        let circle = ArrayShape::parse("circle:4:100mm").unwrap().positions([0.0; 3]);
        for (at, want) in circle.iter().zip([[0.0, 0.1], [0.1, 0.0], [0.0, -0.1], [-0.1, 0.0]]) {
            assert!((at[0] - want[0]).abs() < 1e-15 && (at[1] - want[1]).abs() < 1e-15, "{at:?}");
        }
        for text in ["line:2", "line:0:0.1", "line:2:-1", "square:2:0.1", "line:2:0.1 km", "line:2:inf", ""] {
            let error = ArrayShape::parse(text).unwrap_err().to_string();
            assert!(error.contains(text) && error.contains("line:M:SPACING"), "{error}");
        }
    }

    #[test]
    fn positive_angles_are_to_the_right() {
        let at = place_source([1.0, 2.0, 3.0], 30.0, 2.0);
        assert!((at[0] - 2.0).abs() < 1e-12 && (at[1] - 2.0 - 3f64.sqrt()).abs() < 1e-12 && at[2] == 3.0);
    }

    #[test]
    fn what_is_outside_or_too_close_is_named() {
        let size = [4.0, 3.0, 2.0];
        let inside = [1.0, 1.0, 1.0];
        let error = check_positions(&size, &[inside, [4.5, 1.0, 1.0]], &[]).unwrap_err().to_string();
        assert!(
            error.starts_with("source 2 at (4.5, 1, 1) m lies outside of the room of 4 x 3 x 2 m"),
            "{error}"
        );
        assert!(check_positions(&size, &[], &[[1.0, f64::NAN, 1.0]]).is_err());
        let error = check_positions(&size, &[inside], &[[1.0, 1.0, 1.004]]).unwrap_err().to_string();
        assert!(error.starts_with("source 1 is 0.0040 m from microphone 1, it must be 0.01 m"), "{error}");
        assert!(check_positions(&size, &[inside], &[[1.5, 1.0, 1.0]]).is_ok());
    }
}
