//! A corpus to the network of one source.
//!
//! Epochs of new examples; every few epochs the validation mixtures are separated and scored; the best network is kept.
//! Then, and when the work is cancelled, the state is saved beside the checkpoint, from which a training goes on as if
//! it had never stopped: the checkpoint is the same, bit for bit. A training that is cancelled leaves its best network
//! so far, too, in a file of its own: the checkpoint is always that of a training that came to its end.
//!
//! | room | holds |
//! | --- | --- |
//! | `settings` | what can be asked for |
//! | `resume` | whether a saved state is of the training that is asked for |
//! | `run` | the epochs |

mod resume;
mod run;
mod settings;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use demix_files::FileError;
use demix_files::atomic::check_output_folder;
use demix_nn::{Header, Loss, StepTimes};
use demix_signal::Watch;
use demix_signal::settings::{SettingError, Settings as _};
use serde_json::Value;

pub use settings::{LossName, ScheduleSettings, Select, TrainFor, TrainingSettings, TransformSettings};

use super::PipelineError;
use crate::corpus::{Corpus, Reader, Song, Track};
use crate::training::state::{Description, TrainingState};
use crate::training::{AugmentedExamples, Record, Validation};

/// What to train and where it goes.
#[derive(Clone, Debug)]
pub struct TrainRequest {
    /// The corpus.
    pub data: PathBuf,
    /// Name of the source: of its stems.
    pub source: String,
    /// The checkpoint.
    pub output: PathBuf,
    /// The method that the network is for.
    pub method: TrainFor,
    /// Degrees of freedom, for methods that have them.
    pub nu: Option<f64>,
    /// Settings by name.
    pub settings: Vec<(String, String)>,
    /// Whether to go on from the saved state.
    pub resume: bool,
    /// Whether existing files may be replaced.
    pub overwrite: bool,
}

/// What a training left.
#[derive(Clone, Debug)]
pub struct Trained {
    /// The checkpoint.
    pub output: PathBuf,
    /// Table and picture of the learning curve, and the state.
    pub beside: [PathBuf; 3],
    /// The learning curve.
    pub record: Record,
    /// The epoch that the network is of, counted from 1.
    pub epoch: usize,
    /// Its mean improvement of SI-SDR on the validation mixtures in dB, where there were any.
    pub improvement: Option<f64>,
    /// `"patience"` or `"epochs"`.
    pub stopped: &'static str,
    /// Seconds of all runs.
    pub seconds: f64,
    /// Steps of this run since the loss changed last.
    pub steps: u64,
    /// Where their time went.
    pub times: StepTimes,
    /// What the checkpoint says of its training.
    pub log: Value,
}

/// Songs in which a training can be trusted to generalise at all; fewer are told of.
const FEW_SONGS: usize = 4;

/// Trains a network; `warn` hears every sentence that a user should read, before the work that it is about.
///
/// # Errors
/// Settings that do not fit; a corpus without the source or with too few songs; outputs that exist or cannot be
/// written; a state that is damaged or of another training; cancelling, after which the state and the best network so
/// far are saved.
pub fn train(
    request: &TrainRequest,
    warn: &mut dyn FnMut(&str),
    watch: &mut dyn Watch,
) -> Result<Trained, PipelineError> {
    let plan = Plan::new(request, warn)?;
    plan.run(warn, watch)
}

/// All files of a training.
struct Files {
    checkpoint: PathBuf,
    state: PathBuf,
    /// The best network so far of a training that was cancelled.
    so_far: PathBuf,
    table: PathBuf,
    picture: PathBuf,
}

/// Where the state of a training is saved beside its checkpoint.
pub fn state_file(checkpoint: &Path) -> PathBuf {
    Files::new(checkpoint).state
}

impl Files {
    fn new(output: &Path) -> Self {
        let beside = |ending: &str| {
            let mut name = output.as_os_str().to_owned();
            name.push(ending);
            PathBuf::from(name)
        };
        Self {
            checkpoint: output.to_path_buf(),
            state: beside(".state"),
            so_far: beside(".best"),
            table: beside(".curves.csv"),
            picture: beside(".curves.png"),
        }
    }

    /// Refuses outputs that are in the way.
    fn check(&self, request: &TrainRequest) -> Result<(), PipelineError> {
        for path in [&self.checkpoint, &self.state, &self.so_far, &self.table, &self.picture] {
            if path.is_dir() {
                return Err(FileError::IsFolder { path: path.clone() }.into());
            }
        }
        let refused = |text: String| Err(PipelineError::Request(text));
        let (output, state) = (self.checkpoint.display(), self.state.display());
        if request.resume {
            if !self.state.exists() {
                return refused(format!("{state}: there is no state to go on from; start without --resume"));
            }
        } else if !request.overwrite {
            if self.state.exists() {
                return refused(format!(
                    "{state} exists: go on with --resume, or start again with --overwrite"
                ));
            }
            let outputs = [&self.checkpoint, &self.so_far, &self.table, &self.picture];
            if let Some(path) = outputs.into_iter().find(|path| path.exists()) {
                let path = path.display();
                return refused(format!(
                    "{path} exists: add --overwrite to replace it, or choose another -o than {output}"
                ));
            }
        }
        Ok(())
    }
}

/// A training that can begin: nothing that can be refused is left.
struct Plan {
    files: Files,
    settings: TrainingSettings,
    loss: Loss,
    /// Epochs of square-root loss before the loss itself.
    pretrain: usize,
    description: Description,
    header: Header,
    examples: AugmentedExamples,
    validation: Validation,
    /// Where to go on.
    state: Option<TrainingState>,
    _folders: demix_files::atomic::NewFolders,
}

impl Plan {
    fn new(request: &TrainRequest, warn: &mut dyn FnMut(&str)) -> Result<Self, PipelineError> {
        let wrong = |error: SettingError| PipelineError::WrongUse(error.to_string());
        let mut settings = TrainingSettings::default();
        for (name, value) in &request.settings {
            settings.set(name, value).map_err(wrong)?;
        }
        let loss = settings::loss_for(request.method, request.nu, settings.schedule.loss)?;
        let rate = settings.schedule.sample_rate as u32;
        let stft = settings.transform.for_rate(rate);
        // a transform that cannot be is found before the corpus is looked at
        demix_signal::Stft::<f32>::new(&stft).map_err(|error| PipelineError::WrongUse(error.to_string()))?;
        let corpus = Corpus::open(&request.data)?;
        corpus.check_source(&request.source)?;
        let files = Files::new(&request.output);
        files.check(request)?;
        let state = match request.resume {
            true => Some(TrainingState::read(&files.state)?),
            false => None,
        };

        let split = corpus.split(settings.validation.validation, settings.trainer.seed)?;
        let reader = Arc::new(Reader::new(rate, settings.schedule.cache));
        let examples = AugmentedExamples::new(
            &split.training,
            &request.source,
            reader.clone(),
            &stft,
            &settings.mixing,
            2 * settings.network.context,
            settings.trainer.seed,
        )?;
        let with_source =
            |songs: &[&Song]| songs.iter().filter(|song| song.stem(&request.source).is_some()).count();
        let n_training = with_source(&split.training);
        announce_conversions(examples.tracks(), rate, warn);
        if n_training < FEW_SONGS {
            warn(&format!(
                "only {n_training} training songs have {}: the network will know these, not the source",
                request.source
            ));
        }
        let validation =
            Validation::new(&split.validation, &request.source, &reader, &stft, &settings.validation)?;
        let n_validation = validation.songs().len();
        if n_validation == 0 {
            warn(&format!(
                "none of the {} validation songs has {} beside another stem: the last network is kept, unjudged; choose other songs with --seed, or more with --set validation=N",
                split.validation.len(),
                request.source
            ));
        } else if n_validation < split.validation.len() {
            warn(&format!(
                "{n_validation} of {} validation songs have {} beside another stem: the others are not used",
                split.validation.len(),
                request.source
            ));
        }

        let pretrain = match (&loss, settings.schedule.pretrain) {
            (Loss::SquareRoot, _) => 0,
            (_, Some(epochs)) => epochs,
            (_, None) => settings.schedule.epochs / 4,
        };
        let names = |songs: &[&Song]| songs.iter().map(|song| song.name.clone()).collect::<Vec<_>>();
        let mut values = settings.values();
        values.insert("pretrain".into(), pretrain.into());
        let mut description = Description {
            source: request.source.clone(),
            method: request.method.name().into(),
            nu: request.nu,
            settings: values,
            training: names(&split.training),
            validation: names(&split.validation),
            epochs: 0,
            batches: 0,
            loss_bits: 0,
            record: Record::default(),
            best_epoch: None,
            seconds: 0.0,
        };
        let mut pretrain = pretrain;
        if let Some(state) = &state {
            if settings.schedule.pretrain.is_none() {
                // the automatic value belongs to the number of epochs that it began with
                pretrain = resume::pretrain(&files.state, &state.description)?;
                description.settings.insert("pretrain".into(), pretrain.into());
            }
            resume::same_training(&files.state, &description, &state.description)?;
        }
        if pretrain > 0 && pretrain >= settings.schedule.epochs {
            return Err(PipelineError::WrongUse(format!(
                "pretrain={pretrain}: of {} epochs none is left for the loss of {}; take fewer, or more epochs",
                settings.schedule.epochs,
                request.method.name()
            )));
        }
        let header = Header {
            version: demix_nn::VERSION,
            network: settings.network.clone(),
            stft,
            sample_rate: rate,
            source: request.source.clone(),
            loss,
            log: Value::Null,
        };
        let folder = request.output.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let folders = check_output_folder(folder)?;
        Ok(Self {
            files,
            settings,
            loss: header.loss,
            pretrain,
            description,
            header,
            examples,
            validation,
            state,
            _folders: folders,
        })
    }
}

/// Says what is done to stems of another form.
fn announce_conversions<'a>(tracks: impl Iterator<Item = &'a Track>, rate: u32, warn: &mut dyn FnMut(&str)) {
    let (mut rates, mut n_resampled, mut n_mixed) = (Vec::new(), 0, 0);
    for track in tracks {
        if track.file_rate != rate {
            rates.push(track.file_rate);
            n_resampled += 1;
        }
        n_mixed += usize::from(track.channels > 1);
    }
    rates.sort_unstable();
    rates.dedup();
    if n_resampled > 0 {
        let from: Vec<String> = rates.iter().map(u32::to_string).collect();
        warn(&format!("{n_resampled} stems are resampled from {} to {rate} Hz", from.join(", ")));
    }
    if n_mixed > 0 {
        warn(&format!("{n_mixed} stems of several channels are mixed down to one"));
    }
}
