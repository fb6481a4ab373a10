//! Where a mixture is made: a room, measured responses, gains; each becomes one response per source.

use std::path::{Path, PathBuf};

use demix_files::audio::{self, ReadOptions};
use demix_room::{
    ArrayShape, BAND_CENTRES, FILTER_DELAY, Point, Protocol, RoomError, RoomSettings, Shoebox, WALL_NAMES,
    check_positions, place_source, spread_angles,
};
use demix_signal::settings::Settings as _;
use demix_signal::{Progress, Watch, resample};
use ndarray::{Array2, Axis};
use serde_json::{Value, json};

use super::matrix::read_matrix;
use crate::pipeline::PipelineError;

/// Where the sources sound.
#[derive(Clone, Debug)]
pub enum Place {
    /// A rectangular room.
    Room(Box<RoomScene>),
    /// Measured responses: for each source a file with a channel for each microphone.
    Responses(Vec<PathBuf>),
    /// Gains without delay: a table of microphones (rows) x sources (columns).
    Gains(PathBuf),
}

/// A room and who stands where. What is `None` comes from the preset, or else from a default.
#[derive(Clone, Debug, Default)]
pub struct RoomScene {
    /// Settings of [`RoomSettings`] by name.
    pub settings: Vec<(String, String)>,
    /// Absorption instead of a T60: one number, six for the walls, or a file of walls x bands.
    pub absorption: Option<String>,
    /// Name of a [`Protocol`].
    pub preset: Option<String>,
    /// `line:M:SPACING`, `circle:M:RADIUS` or a file of positions relative to the centre (m).
    pub array: Option<String>,
    /// Centre of the array in m.
    pub centre: Option<Point>,
    /// Degrees from broadside, positive to the right, of each source.
    pub angles: Option<Vec<f64>>,
    /// Distance from the centre in m, of each source or of all.
    pub distance: Option<Vec<f64>>,
    /// A file of the sources' positions in the room (m), instead of angles.
    pub positions: Option<PathBuf>,
}

/// What the place does to the sources, and what there is to say of it.
pub(super) struct Scene {
    /// One for each source, shape (microphones, samples).
    pub responses: Vec<Array2<f64>>,
    /// Samples by which all of them are late.
    pub delay: usize,
    /// For `scene.json`.
    pub value: Value,
    /// Of each source, for `scene.json`.
    pub sources: Vec<Value>,
    /// For the picture; none where no room is known.
    pub plan: Option<Plan>,
    pub warnings: Vec<String>,
}

/// Seen from above, in m.
pub(super) struct Plan {
    pub room: [f64; 2],
    pub microphones: Vec<[f64; 2]>,
    pub sources: Vec<[f64; 2]>,
}

/// Where the array stands unless told otherwise, as shares of the room's sides: off its planes of symmetry, on which
/// reflections from opposite walls would arrive together.
const USUAL_CENTRE: Point = [0.52, 0.36, 0.48];
/// In m.
const USUAL_DISTANCE: f64 = 2.0;
/// In m.
const USUAL_SPACING: f64 = 0.0566;

impl RoomScene {
    /// Everything that can be told without computing: the room and all positions.
    fn settle(&self, n_sources: usize) -> Result<Settled, PipelineError> {
        let protocol = match &self.preset {
            Some(name) => Some(Protocol::named(name).ok_or_else(|| {
                let known: Vec<&str> = demix_room::PROTOCOLS.iter().map(|protocol| protocol.name).collect();
                PipelineError::WrongUse(format!(
                    "there is no preset '{name}'; those known are {}",
                    known.join(", ")
                ))
            })?),
            None => None,
        };
        let mut settings = RoomSettings::default();
        if let Some(protocol) = protocol {
            settings.room.0 = protocol.room;
            settings.t60 = Some(demix_room::Times(vec![protocol.t60]));
        }
        for (name, value) in &self.settings {
            settings.set(name, value).map_err(RoomError::from)?;
        }
        let absorption = self.absorption.as_deref().map(absorption).transpose()?;
        if absorption.is_some() && self.settings.iter().all(|(name, _)| name != "t60") {
            // what is given here comes before the preset
            settings.t60 = None;
        }
        let room = settings.shoebox(absorption.as_ref())?;
        let usual = std::array::from_fn(|axis| USUAL_CENTRE[axis] * room.size[axis]);
        let centre = self.centre.unwrap_or(protocol.map_or(usual, |protocol| protocol.centre));
        let array = match &self.array {
            Some(text) => array(text)?,
            None => protocol.map_or(ArrayShape::Line { n: n_sources, spacing: USUAL_SPACING }, |protocol| {
                protocol.array(n_sources)
            }),
        };
        let microphones = array.positions(centre);
        let (sources, angles, distances) = match &self.positions {
            Some(path) => (positions(path, n_sources)?, None, None),
            None => {
                let angles = match (&self.angles, protocol) {
                    (Some(angles), _) => angles.clone(),
                    (None, Some(protocol)) => protocol.angles(n_sources)?,
                    (None, None) => spread_angles(n_sources),
                };
                count("angles", angles.len(), n_sources, "give one for each source")?;
                let usual = protocol.map_or(USUAL_DISTANCE, |protocol| protocol.distance);
                let distances = match self.distance.as_deref() {
                    None => vec![usual; n_sources],
                    Some([one]) => vec![*one; n_sources],
                    Some(several) => several.to_vec(),
                };
                count("distances", distances.len(), n_sources, "give one, or one for each source")?;
                if let Some(distance) = distances.iter().find(|d| !(**d > 0.0 && d.is_finite())) {
                    return Err(PipelineError::WrongUse(format!(
                        "--distance {distance}: a distance is above 0 m; turn a source round with --angles"
                    )));
                }
                let places = angles
                    .iter()
                    .zip(&distances)
                    .map(|(angle, d)| place_source(centre, *angle, *d))
                    .collect();
                (places, Some(angles), Some(distances))
            }
        };
        check_positions(&room.size, &sources, &microphones)?;
        Ok(Settled { settings, room, array, centre, microphones, sources, angles, distances })
    }
}

/// A scene without questions.
struct Settled {
    settings: RoomSettings,
    room: Shoebox,
    array: ArrayShape,
    centre: Point,
    microphones: Vec<Point>,
    sources: Vec<Point>,
    angles: Option<Vec<f64>>,
    distances: Option<Vec<f64>>,
}

pub(super) fn count(
    what: &'static str,
    found: usize,
    expected: usize,
    remedy: &'static str,
) -> Result<(), RoomError> {
    let of = "sources";
    if found == expected { Ok(()) } else { Err(RoomError::Count { what, found, of, expected, remedy }) }
}

/// One number, six with commas between them, or a file of 1 or 6 rows x 1 or 7 columns.
fn absorption(text: &str) -> Result<Array2<f64>, PipelineError> {
    let numbers: Result<Vec<f64>, _> = text.split(',').map(|word| word.trim().parse::<f64>()).collect();
    match numbers {
        Ok(values) => Ok(Array2::from_shape_fn((values.len(), 1), |(wall, _)| values[wall])),
        Err(_) => read_matrix(Path::new(text), "absorption"),
    }
}

fn array(text: &str) -> Result<ArrayShape, PipelineError> {
    // a kind that is misspelt is told as such, unless there is such a file
    if text.contains(':') && !Path::new(text).is_file() {
        return Ok(ArrayShape::parse(text)?);
    }
    Ok(ArrayShape::Custom(points(&read_matrix(Path::new(text), "positions")?, text)?))
}

fn positions(path: &Path, n_sources: usize) -> Result<Vec<Point>, PipelineError> {
    let found = points(&read_matrix(path, "positions")?, &path.display().to_string())?;
    count("positions", found.len(), n_sources, "give one row for each source")?;
    Ok(found)
}

fn points(table: &Array2<f64>, file: &str) -> Result<Vec<Point>, PipelineError> {
    if table.ncols() != 3 {
        let n = table.ncols();
        return Err(PipelineError::Request(format!(
            "{file}: its rows have {n} numbers, positions have 3: x, y, z in m"
        )));
    }
    Ok(table.rows().into_iter().map(|row| [row[0], row[1], row[2]]).collect())
}

impl Place {
    /// Whatever can be refused before sources are read.
    pub(super) fn check(&self, n_sources: usize) -> Result<(), PipelineError> {
        match self {
            Self::Room(scene) => scene.settle(n_sources).map(|_| ()),
            Self::Responses(files) => {
                Ok(count("files of responses", files.len(), n_sources, "give one for each source")?)
            }
            Self::Gains(path) => gains(path, n_sources).map(|_| ()),
        }
    }

    /// The responses alone, one for each source, shape (microphones, samples); measured ones are resampled.
    pub(crate) fn responses(
        &self,
        n_sources: usize,
        sample_rate: u32,
        watch: &mut dyn Watch,
    ) -> Result<Vec<Array2<f64>>, PipelineError> {
        Ok(self.scene(n_sources, sample_rate, true, watch)?.responses)
    }

    /// The responses for sources at `sample_rate`; measured ones are resampled only where `may_resample`.
    pub(super) fn scene(
        &self,
        n_sources: usize,
        sample_rate: u32,
        may_resample: bool,
        watch: &mut dyn Watch,
    ) -> Result<Scene, PipelineError> {
        match self {
            Self::Room(scene) => in_room(scene.settle(n_sources)?, scene, sample_rate, watch),
            Self::Responses(files) => measured(files, sample_rate, may_resample),
            Self::Gains(path) => {
                let gains = gains(path, n_sources)?;
                let responses =
                    gains.columns().into_iter().map(|column| column.to_owned().insert_axis(Axis(1)));
                let rows: Vec<Vec<f64>> = gains.rows().into_iter().map(|row| row.to_vec()).collect();
                Ok(Scene {
                    responses: responses.collect(),
                    delay: 0,
                    value: json!({ "kind": "gains", "gains_file": path.display().to_string(), "gains": rows }),
                    sources: vec![json!({}); n_sources],
                    plan: None,
                    warnings: Vec::new(),
                })
            }
        }
    }
}

fn gains(path: &Path, n_sources: usize) -> Result<Array2<f64>, PipelineError> {
    let gains = read_matrix(path, "gains")?;
    if gains.ncols() != n_sources {
        return Err(PipelineError::WrongUse(format!(
            "{}: has {} columns for {n_sources} sources: rows are microphones, columns sources",
            path.display(),
            gains.ncols()
        )));
    }
    Ok(gains)
}

fn in_room(
    scene: Settled,
    asked: &RoomScene,
    sample_rate: u32,
    watch: &mut dyn Watch,
) -> Result<Scene, PipelineError> {
    let Settled { settings, room, array, centre, microphones, sources, angles, distances } = scene;
    let total = sources.len();
    let mut responses = Vec::with_capacity(total);
    for (done, source) in sources.iter().enumerate() {
        watch
            .progress(Progress { stage: "room", done, total, cost: None })
            .map_err(|_| PipelineError::Cancelled)?;
        responses.append(&mut room.responses(std::slice::from_ref(source), &microphones, sample_rate)?);
    }
    let walls: serde_json::Map<String, Value> = WALL_NAMES
        .iter()
        .zip(room.walls.absorption.rows())
        .map(|(name, row)| ((*name).to_string(), json!(row.to_vec())))
        .collect();
    let several = room.walls.n_bands().max(room.air.len()) > 1;
    let value = json!({
        "kind": "room",
        "preset": asked.preset,
        "room": {
            "settings": settings.values(),
            "size": room.size,
            "absorption": walls,
            "air": room.air,
            "bands": if several { json!(BAND_CENTRES) } else { Value::Null },
            "t60_asked": settings.t60.as_ref().map(|times| times.0.clone()),
            "t60_predicted": room.predicted_t60s(),
            "response_seconds": room.seconds,
        },
        "array": { "shape": array.to_string(), "centre": centre, "microphones": microphones },
    });
    let described = (0..total).map(|n| {
        json!({
            "position": sources[n],
            "angle": angles.as_ref().map(|angles| angles[n]),
            "distance": distances.as_ref().map(|distances| distances[n]),
        })
    });
    let flat = |points: &[Point]| points.iter().map(|p| [p[0], p[1]]).collect();
    Ok(Scene {
        responses,
        delay: FILTER_DELAY,
        value,
        sources: described.collect(),
        plan: Some(Plan {
            room: [room.size[0], room.size[1]],
            microphones: flat(&microphones),
            sources: flat(&sources),
        }),
        warnings: Vec::new(),
    })
}

fn measured(files: &[PathBuf], sample_rate: u32, may_resample: bool) -> Result<Scene, PipelineError> {
    let mut scene = Scene {
        responses: Vec::new(),
        delay: 0,
        value: json!({ "kind": "responses" }),
        sources: Vec::new(),
        plan: None,
        warnings: Vec::new(),
    };
    let mut first: Option<usize> = None;
    for path in files {
        let read = audio::read(path, &ReadOptions::default())?;
        let mut response = read.waveform;
        scene.warnings.extend(read.warnings.iter().map(|warning| format!("{}: {warning}", path.display())));
        if response.sample_rate != sample_rate {
            let rate = response.sample_rate;
            if !may_resample {
                return Err(PipelineError::Request(format!(
                    "{}: has {rate} Hz, the sources have {sample_rate} Hz: add --rate {sample_rate} to resample it",
                    path.display()
                )));
            }
            response = resample(&response, sample_rate).map_err(|e| PipelineError::Request(e.to_string()))?;
            // a response keeps its spectrum where its samples are as dense as they were
            let density = rate as f32 / sample_rate as f32;
            response.samples *= density;
            scene.warnings.push(format!("{}: resampled from {rate} to {sample_rate} Hz", path.display()));
        }
        let (found, expected) = (response.n_channels(), *first.get_or_insert(response.n_channels()));
        if found != expected {
            return Err(PipelineError::Request(format!(
                "{}: has {found} channels (microphones), {} has {expected}: take responses of one array",
                path.display(),
                files[0].display()
            )));
        }
        scene.sources.push(json!({ "response": path.display().to_string() }));
        scene.responses.push(response.samples.mapv(f64::from));
    }
    Ok(scene)
}
