//! `--score-against`: a separation is scored where it is made, and after how many iterations it is how good.

use std::path::{Path, PathBuf};
use std::time::Instant;

use demix_eval::{Order, SiSettings, si_sdr};
use demix_figure::score_curves;
use demix_files::audio::ReadOptions;
use demix_signal::{Cancelled, Progress, Watch, Waveform};
use ndarray::{Axis, Slice};
use serde_json::{Value, json};

use super::metric::{DEFAULT_METRICS, MetricSettings, list};
use super::score;
use super::sound::{Sound, check_alike, open};
use crate::method::{Method, Request};
use crate::pipeline::PipelineError;
use crate::separation::{RESIDUAL, Source};

/// The true sources of one recording.
pub struct Against {
    references: Vec<Sound>,
    mixture: Sound,
    /// The one channel that is scored, counted from 0.
    channel: Option<usize>,
    files: Vec<PathBuf>,
}

/// The shorter runs: each about three times as long as the one before, the separation three times as long as the last,
/// so that all together take at most half as long as the separation itself.
const LADDER: [usize; 10] = [1, 3, 10, 30, 100, 300, 1000, 3000, 10000, 30000];

impl Against {
    /// Reads the references of a mixture, the same part of them. They have its channels, or one: that written by
    /// `--reference`.
    ///
    /// # Errors
    /// Files that cannot be read, or differ from the mixture in rate, channels or length.
    pub fn new(
        files: &[PathBuf],
        part: &ReadOptions,
        input: &Path,
        mixture: &Waveform,
        written_channel: Option<usize>,
    ) -> Result<Self, PipelineError> {
        let references = open(files, part)?;
        let one = references.iter().all(|reference| demix_eval::Recording::n_channels(reference) == 1);
        let channel = written_channel.map(|channel| channel - 1).filter(|_| one && mixture.n_channels() > 1);
        let mixture = Sound::held(input, channel_of(mixture, channel));
        check_alike(std::iter::once(&mixture).chain(&references))?;
        Ok(Self { references, mixture, channel, files: files.to_vec() })
    }

    fn held(&self, sources: &[Source]) -> Vec<Sound> {
        let sources = sources.iter().filter(|s| s.name != RESIDUAL);
        sources.map(|s| Sound::held(&s.name, channel_of(&s.image, self.channel))).collect()
    }

    /// `{"references", "estimates", "metrics", "curve", "seconds"}`: scores as `demix evaluate` gives them, and the
    /// SI-SDR that the method reaches when it stops after fewer iterations.
    ///
    /// The curve is made of separations of their own, with the same settings and seed: what they give is what the
    /// separation would have given, whatever a method does at its end.
    ///
    /// # Errors
    /// Cancelling; whatever keeps a separation from being scored.
    pub fn scores(
        &self,
        method: &Method,
        request: &Request,
        mixture: &Waveform,
        iterations: usize,
        sources: &[Source],
        watch: &mut dyn Watch,
    ) -> Result<Value, PipelineError> {
        let clock = Instant::now();
        let rungs: Vec<usize> = match method.settings().iter().any(|setting| setting.name == "iterations") {
            true => LADDER.iter().copied().filter(|&rung| 3 * rung <= iterations).collect(),
            false => Vec::new(),
        };
        let total = rungs.len() + 1;
        let mut curve = Vec::new();
        for (done, &rung) in rungs.iter().enumerate() {
            let mut shorter = request.clone();
            shorter.settings.push(("iterations".into(), rung.to_string()));
            let mut watch = Rung { watch: &mut *watch, done, total };
            let found = method
                .build(&shorter)
                .and_then(|separator| separator.separate(mixture, &mut watch))
                .map_err(|e| PipelineError::of(&self.mixture.path, e))?;
            curve.push((rung, self.si_sdr(&self.held(&found.sources))?));
        }
        let estimates = self.held(sources);
        let mixture = std::slice::from_ref(&self.mixture);
        let settings = MetricSettings::default();
        let scored = score(&self.references, &estimates, mixture, false, &DEFAULT_METRICS, &settings)?;
        if !curve.is_empty() {
            curve.push((iterations, self.si_sdr(&estimates)?));
        }
        let progress = Progress { stage: "score", done: total, total, cost: None };
        watch.progress(progress).map_err(|_| PipelineError::Cancelled)?;

        let mut value = scored.value();
        value["references"] = self.files.iter().map(|file| file.display().to_string()).collect();
        value["estimates"] = sources.iter().map(|source| source.name.clone()).collect();
        if !curve.is_empty() {
            let iterations: Vec<usize> = curve.iter().map(|(rung, _)| *rung).collect();
            let per_reference: Vec<Value> = (0..self.references.len())
                .map(|n| list(&curve.iter().map(|(_, scores)| scores[n]).collect::<Vec<_>>()))
                .collect();
            value["curve"] = json!({ "iterations": iterations, "si_sdr": per_reference });
        }
        value["seconds"] = clock.elapsed().as_secs_f64().into();
        Ok(value)
    }

    fn si_sdr(&self, estimates: &[Sound]) -> Result<Vec<f64>, PipelineError> {
        let settings = SiSettings { order: Order::Best, ..SiSettings::default() };
        Ok(si_sdr(&self.references, estimates, &settings)?.sdr)
    }

    /// The curve of [`Against::scores`] as a picture.
    pub fn picture(&self, scores: &Value) -> Option<Vec<u8>> {
        let curve = scores.get("curve")?;
        let numbers = |value: &Value| -> Vec<f64> {
            value.as_array().into_iter().flatten().map(|x| x.as_f64().unwrap_or(f64::NAN)).collect()
        };
        let iterations = numbers(&curve["iterations"]);
        let names: Vec<String> = self
            .files
            .iter()
            .map(|file| file.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default())
            .collect();
        let values: Vec<Vec<f64>> = curve["si_sdr"].as_array()?.iter().map(numbers).collect();
        let curves: Vec<(&str, &[f64])> =
            names.iter().map(String::as_str).zip(values.iter().map(Vec::as_slice)).collect();
        Some(score_curves("SI-SDR over iterations", "SI-SDR (dB)", &iterations, &curves).to_png())
    }
}

fn channel_of(waveform: &Waveform, channel: Option<usize>) -> Waveform {
    match channel {
        None => waveform.clone(),
        Some(m) => {
            let one = waveform.samples.slice_axis(Axis(0), Slice::from(m..=m)).to_owned();
            Waveform::new(one, waveform.sample_rate)
        }
    }
}

/// A shorter run is one step of the scoring.
struct Rung<'a> {
    watch: &'a mut dyn Watch,
    done: usize,
    total: usize,
}

impl Watch for Rung<'_> {
    fn progress(&mut self, _: Progress) -> Result<(), Cancelled> {
        self.watch.progress(Progress { stage: "score", done: self.done, total: self.total, cost: None })
    }
}
