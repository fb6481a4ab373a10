//! The mixtures: stems of Test songs through responses, both recording conditions, at the networks' rate.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use demix_eval::{BssEval, EvalError, FILTER_LENGTH, Order, Scores};
use demix_files::FileError;
use demix_files::audio::{self, AudioInfo, ReadOptions};
use demix_room::{MixOptions, PROTOCOLS, Protocol, mix};
use demix_signal::{Watch, Waveform, resample};
use ndarray::Axis;

use super::rows::GROUPS;
use crate::corpus::Song;
use crate::pipeline::PipelineError;
use crate::pipeline::simulate::{Place, RoomScene};

/// What is mixed.
#[derive(Clone, Debug, PartialEq)]
pub struct Case {
    /// The song.
    pub song: Song,
    /// Index into [`GROUPS`].
    pub group: usize,
    /// Index into the recording conditions.
    pub condition: usize,
}

/// A mixture and its truth, at the networks' rate, of one channel for each source.
pub struct Scene {
    /// What microphones hear.
    pub mixture: Waveform,
    /// Each source alone at the first microphone.
    pub references: Vec<Waveform>,
    /// Scores of the mixture itself.
    pub unprocessed: Scores,
}

impl Scene {
    /// The sum of images, each of the shape (microphones, samples).
    ///
    /// # Errors
    /// Images that cannot be judged.
    pub fn new(images: &[Waveform]) -> Result<Self, EvalError> {
        let mut mixture = images[0].clone();
        images[1..].iter().for_each(|image| mixture.samples += &image.samples);
        let first = |sound: &Waveform| Waveform::mono(sound.samples.row(0).to_vec(), sound.sample_rate);
        let references: Vec<Waveform> = images.iter().map(first).collect();
        let heard = [first(&mixture)];
        let judge = BssEval::new(&references, &heard, FILTER_LENGTH)?;
        let unprocessed = judge.sources(&Order::all_from_one(references.len()))?;
        Ok(Self { mixture, references, unprocessed })
    }
}

/// What `--responses` takes.
const WANTED: &str = "--responses takes folders with a file for each angle in degrees, as az-050.wav";

/// A folder of measured responses to one array.
pub struct Responses {
    folder: PathBuf,
    n_microphones: usize,
}

impl Responses {
    /// Looks into a folder; no sound is decoded.
    ///
    /// # Errors
    /// A folder that is not there or holds no responses, or those of an array that no mixture has.
    pub fn open(folder: &Path) -> Result<Self, PipelineError> {
        let refused = |why: String| Err(PipelineError::WrongUse(format!("{}: {why}", folder.display())));
        if !folder.is_dir() {
            return refused(format!("no such folder; {WANTED}"));
        }
        let failed = |error| FileError::from_io(folder, "read this folder", error);
        let mut files = Vec::new();
        for entry in std::fs::read_dir(folder).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name();
            files.extend(name.to_str().filter(|name| is_response(name)).map(|name| folder.join(name)));
        }
        files.sort();
        let Some(first) = files.first() else {
            return refused(format!("holds no responses; {WANTED}"));
        };
        let n_microphones = audio::info(first)?.channels;
        if !GROUPS.iter().any(|group| group.len() == n_microphones) {
            return refused(format!(
                "its responses have {n_microphones} channels: as many microphones as sources are needed, 2 or 3"
            ));
        }
        Ok(Self { folder: folder.to_path_buf(), n_microphones })
    }

    /// How many microphones its array has.
    pub fn n_microphones(&self) -> usize {
        self.n_microphones
    }

    /// The response of an angle: `az-050.wav` is -50 degrees.
    fn file(&self, angle: f64) -> Result<PathBuf, PipelineError> {
        let file = self.folder.join(format!("az{angle:+04.0}.wav"));
        if file.is_file() {
            return Ok(file);
        }
        Err(PipelineError::WrongUse(format!("{}: no such file; {WANTED}", file.display())))
    }
}

/// Whether a file holds the response of some angle.
fn is_response(name: &str) -> bool {
    let angle = name.strip_prefix("az").and_then(|rest| rest.strip_suffix(".wav"));
    angle.is_some_and(|angle| angle.parse::<i32>().is_ok())
}

/// What files say of themselves, each asked once.
#[derive(Default)]
pub struct Infos(BTreeMap<PathBuf, AudioInfo>);

impl Infos {
    fn of(&mut self, path: &Path) -> Result<&AudioInfo, FileError> {
        if !self.0.contains_key(path) {
            self.0.insert(path.to_path_buf(), audio::info(path)?);
        }
        Ok(&self.0[path])
    }
}

impl Case {
    /// Names of its sources.
    pub fn sources(&self) -> &'static [&'static str] {
        GROUPS[self.group]
    }

    /// As results call it.
    pub fn key(&self) -> String {
        format!("{} - {} - condition {}", self.song.name, self.sources().join("+"), self.condition + 1)
    }

    fn protocol(&self) -> &'static Protocol {
        &PROTOCOLS[self.condition]
    }

    /// Where its sources sound: measured responses where a folder for its number of microphones is given, else the
    /// protocol's room.
    fn place(&self, responses: &[Responses]) -> Result<Place, PipelineError> {
        let n = self.sources().len();
        let Some(measured) = responses.iter().find(|folder| folder.n_microphones == n) else {
            let preset = Some(self.protocol().name.to_string());
            return Ok(Place::Room(Box::new(RoomScene { preset, ..RoomScene::default() })));
        };
        let angles = self.protocol().angles(n)?;
        Ok(Place::Responses(angles.iter().map(|angle| measured.file(*angle)).collect::<Result<_, _>>()?))
    }

    /// The file of a source.
    fn stem(&self, name: &str) -> PathBuf {
        self.song.stem(name).map(|stem| stem.path.clone()).unwrap_or_default()
    }

    /// Refuses whatever can be refused before a sound is decoded; gives the length of the mixture in seconds.
    ///
    /// # Errors
    /// Responses that are not there or of another array; stems that cannot be read or have different rates.
    pub fn check(
        &self,
        responses: &[Responses],
        seconds: f64,
        infos: &mut Infos,
    ) -> Result<f64, PipelineError> {
        let n = self.sources().len();
        if let Place::Responses(files) = self.place(responses)? {
            for file in &files {
                let found = infos.of(file)?.channels;
                if found != n {
                    return Err(PipelineError::Request(format!(
                        "{}: has {found} channels (microphones), others of its folder have {n}: take responses of one \
                         array",
                        file.display()
                    )));
                }
            }
        }
        let (mut rates, mut longest) = (Vec::new(), 0.0f64);
        for name in self.sources() {
            let info = infos.of(&self.stem(name))?;
            rates.push(info.sample_rate);
            longest = longest.max(info.seconds.min(seconds));
        }
        self.check_rates(&rates)?;
        Ok(longest)
    }

    fn check_rates(&self, rates: &[u32]) -> Result<(), PipelineError> {
        match rates.iter().find(|rate| **rate != rates[0]) {
            None => Ok(()),
            Some(other) => Err(PipelineError::Request(format!(
                "{}: its stems have {} Hz and {other} Hz: give them one rate",
                self.song.name, rates[0]
            ))),
        }
    }

    /// Mixes.
    ///
    /// # Errors
    /// Files that cannot be read; cancelling. A silent stem gives `None`.
    pub fn scene(
        &self,
        responses: &[Responses],
        sample_rate: u32,
        seconds: f64,
        watch: &mut dyn Watch,
    ) -> Result<Option<Scene>, PipelineError> {
        let mut dry = Vec::new();
        for name in self.sources() {
            let options = ReadOptions { duration: Some(seconds), ..ReadOptions::default() };
            let read = audio::read(&self.stem(name), &options)?.waveform;
            // stems of two channels are one microphone's
            let mono = read.samples.mean_axis(Axis(0)).map_or_else(Vec::new, |mono| mono.to_vec());
            dry.push(Waveform::mono(mono, read.sample_rate));
        }
        let rates: Vec<u32> = dry.iter().map(|stem| stem.sample_rate).collect();
        self.check_rates(&rates)?;
        let rate = rates[0];
        let responses = self.place(responses)?.responses(dry.len(), rate, watch)?;
        let mixed = mix(&dry, &responses, &MixOptions { cut_tail: true, ..MixOptions::default() })?;
        let lower = |sound: &Waveform| {
            resample(sound, sample_rate)
                .map_err(|why| PipelineError::Request(format!("{}: {why}", self.song.name)))
        };
        let images = mixed.images.iter().map(lower).collect::<Result<Vec<_>, _>>()?;
        if images.iter().any(|image| image.samples.iter().all(|x| *x == 0.0)) {
            return Ok(None);
        }
        // of the resampled images, so that they stay the truth to the last digit
        Ok(Some(Scene::new(&images)?))
    }
}

#[cfg(test)]
mod tests {
    use demix_files::audio::{WriteFormat, write};
    use ndarray::Array2;

    use super::*;

    #[test]
    fn angles_become_file_names() {
        let nowhere = Responses { folder: PathBuf::from("nowhere"), n_microphones: 2 };
        for (angle, name) in [(-50.0, "az-050.wav"), (0.0, "az+000.wav"), (70.0, "az+070.wav")] {
            assert!(nowhere.file(angle).unwrap_err().to_string().contains(name));
            assert!(is_response(name));
        }
        assert!(!is_response("az.wav") && !is_response("azimuth.wav"));
    }

    #[test]
    fn a_folder_serves_mixtures_of_as_many_sources_as_it_has_microphones() {
        let folder = tempfile::tempdir().unwrap();
        let put = |name: &str, n: usize| {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            let response = Waveform::new(Array2::ones((n, 4)), 8000);
            write(&path, &response, &WriteFormat::default()).unwrap();
        };
        for angle in ["-050", "+050"] {
            put(&format!("two/az{angle}.wav"), 2);
        }
        put("four/az+000.wav", 4);
        put("none/notes.wav", 2);
        let open = |name: &str| Responses::open(&folder.path().join(name));
        let two = [open("two").unwrap()];
        let case = |group: usize, condition: usize| {
            let song =
                Song { name: "x".into(), part: crate::corpus::Part::Test, mixture: None, stems: vec![] };
            Case { song, group, condition }
        };
        assert!(matches!(case(0, 0).place(&two), Ok(Place::Responses(files)) if files.len() == 2));
        // three sources: a room, whatever angles the folder has
        assert!(matches!(case(3, 0).place(&two), Ok(Place::Room(_))));
        let missing = case(0, 1).place(&two).err().unwrap().to_string();
        assert!(missing.contains("az-030.wav: no such file"), "{missing}");
        for (name, part) in [("four", "have 4 channels"), ("none", "no responses"), ("no", "no such folder")]
        {
            let error = open(name).err().unwrap();
            assert!(error.is_wrong_use() && error.to_string().contains(part), "{error}");
        }
    }
}
