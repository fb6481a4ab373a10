//! Scenes of the literature.

use crate::RoomError;
use crate::geometry::{ArrayShape, Point};

/// A scene whose geometry is settled.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Protocol {
    /// Name, as in `--preset`.
    pub name: &'static str,
    /// What it is.
    pub summary: &'static str,
    /// Sides of the room, in m.
    pub room: Point,
    /// Reverberation time, in s.
    pub t60: f64,
    /// Centre of the array, in m; it is a line with as many microphones as sources.
    pub centre: Point,
    /// Distance of neighbouring microphones, in m.
    pub spacing: f64,
    /// Distance of the sources from the centre, in m.
    pub distance: f64,
    two: [f64; 2],
    three: [f64; 3],
}

/// The recording conditions after those of Hasumi et al. 2023 (PoP-IDLMA): sources at 2 m, T60 300 ms, microphones
/// 5.66 cm apart. Angles, and the room, are ours: the paper's figures are lost.
pub const PROTOCOLS: [Protocol; 2] = [
    Protocol {
        name: "pop-idlma-1",
        summary: "angles -50, 50 or -50, 0, 50 degrees",
        two: [-50.0, 50.0],
        three: [-50.0, 0.0, 50.0],
        ..POP_IDLMA
    },
    Protocol {
        name: "pop-idlma-2",
        summary: "angles -30, 70 or -70, -10, 40 degrees",
        two: [-30.0, 70.0],
        three: [-70.0, -10.0, 40.0],
        ..POP_IDLMA
    },
];

const POP_IDLMA: Protocol = Protocol {
    name: "",
    summary: "",
    room: [6.0, 4.4, 2.5],
    t60: 0.3,
    centre: [3.12, 1.58, 1.2],
    spacing: 0.0566,
    distance: 2.0,
    two: [0.0; 2],
    three: [0.0; 3],
};

impl Protocol {
    /// The protocol of this name.
    pub fn named(name: &str) -> Option<&'static Self> {
        PROTOCOLS.iter().find(|protocol| protocol.name == name)
    }

    /// Degrees from broadside of each source, positive to the right.
    ///
    /// # Errors
    /// Other numbers of sources than 2 or 3.
    pub fn angles(&self, n_sources: usize) -> Result<Vec<f64>, RoomError> {
        match n_sources {
            2 => Ok(self.two.to_vec()),
            3 => Ok(self.three.to_vec()),
            found => Err(RoomError::Protocol { name: self.name, found }),
        }
    }

    /// The array for so many sources.
    pub fn array(&self, n_sources: usize) -> ArrayShape {
        ArrayShape::Line { n: n_sources, spacing: self.spacing }
    }
}

/// Angles for any number of sources: evenly from -50 to 50 degrees, one alone in front.
pub fn spread_angles(n_sources: usize) -> Vec<f64> {
    match n_sources {
        0 | 1 => vec![0.0; n_sources],
        n => (0..n).map(|i| -50.0 + 100.0 * i as f64 / (n - 1) as f64).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geometry::{check_positions, place_source};

    #[test]
    fn protocols_stand_in_their_rooms() {
        for protocol in &PROTOCOLS {
            assert_eq!(Protocol::named(protocol.name), Some(protocol));
            for n in [2, 3] {
                let angles = protocol.angles(n).unwrap();
                let sources: Vec<Point> = angles
                    .iter()
                    .map(|angle| place_source(protocol.centre, *angle, protocol.distance))
                    .collect();
                let microphones = protocol.array(n).positions(protocol.centre);
                assert_eq!((sources.len(), microphones.len()), (n, n));
                check_positions(&protocol.room, &sources, &microphones).unwrap();
            }
            assert!(protocol.angles(4).unwrap_err().to_string().contains("2 or 3 sources, 4 are given"));
        }
        assert_eq!(Protocol::named("pop-idlma-2").unwrap().angles(3).unwrap(), [-70.0, -10.0, 40.0]);
        assert_eq!(spread_angles(2), [-50.0, 50.0]);
        assert_eq!(spread_angles(1), [0.0]);
    }
}
