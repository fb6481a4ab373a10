//! The mixtures: stems of Test songs through responses, both recording conditions, at the networks' rate.

use std::path::{Path, PathBuf};

use demix_eval::{BssEval, FILTER_LENGTH, Order, Scores};
use demix_files::audio::{self, ReadOptions};
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
    fn place(&self, responses: &[PathBuf]) -> Result<Place, PipelineError> {
        let n = self.sources().len();
        let angles = self.protocol().angles(n)?;
        for folder in responses {
            let files =
                angles.iter().map(|angle| response_file(folder, *angle)).collect::<Result<Vec<_>, _>>()?;
            if audio::info(&files[0])?.channels == n {
                return Ok(Place::Responses(files));
            }
        }
        let preset = Some(self.protocol().name.to_string());
        Ok(Place::Room(Box::new(RoomScene { preset, ..RoomScene::default() })))
    }

    /// Mixes.
    ///
    /// # Errors
    /// Files that cannot be read; cancelling. A silent stem gives `None`.
    pub fn scene(
        &self,
        responses: &[PathBuf],
        sample_rate: u32,
        seconds: f64,
        watch: &mut dyn Watch,
    ) -> Result<Option<Scene>, PipelineError> {
        let mut dry = Vec::new();
        for name in self.sources() {
            let path = self.song.stem(name).map(|stem| stem.path.clone()).unwrap_or_default();
            let options = ReadOptions { duration: Some(seconds), ..ReadOptions::default() };
            let read = audio::read(&path, &options)?.waveform;
            // stems of two channels are one microphone's
            let mono = read.samples.mean_axis(Axis(0)).map_or_else(Vec::new, |mono| mono.to_vec());
            dry.push(Waveform::mono(mono, read.sample_rate));
        }
        let rate = dry[0].sample_rate;
        if let Some(other) = dry.iter().find(|stem| stem.sample_rate != rate) {
            return Err(PipelineError::Request(format!(
                "{}: its stems have {rate} Hz and {} Hz: give them one rate",
                self.song.name, other.sample_rate
            )));
        }
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
        // the sum of the resampled images, so that they stay the truth to the last digit
        let mut mixture = images[0].clone();
        images[1..].iter().for_each(|image| mixture.samples += &image.samples);
        let first = |sound: &Waveform| Waveform::mono(sound.samples.row(0).to_vec(), sample_rate);
        let references: Vec<Waveform> = images.iter().map(first).collect();
        let heard = [first(&mixture)];
        let judge = BssEval::new(&references, &heard, FILTER_LENGTH)?;
        let unprocessed = judge.sources(&Order::all_from_one(references.len()))?;
        Ok(Some(Scene { mixture, references, unprocessed }))
    }
}

/// The response of an angle in a folder: `az-050.wav` is -50 degrees.
fn response_file(folder: &Path, angle: f64) -> Result<PathBuf, PipelineError> {
    let file = folder.join(format!("az{:+04.0}.wav", angle));
    if file.is_file() {
        return Ok(file);
    }
    Err(PipelineError::WrongUse(format!(
        "{}: no such file; --responses takes folders with a file for each angle in degrees, as az-050.wav",
        file.display()
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn angles_become_file_names() {
        let folder = Path::new("nowhere");
        for (angle, name) in [(-50.0, "az-050.wav"), (0.0, "az+000.wav"), (70.0, "az+070.wav")] {
            assert!(response_file(folder, angle).unwrap_err().to_string().contains(name));
        }
    }
}
