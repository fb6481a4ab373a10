//! The protocol and the tables of Hasumi et al. 2023 on a corpus of songs: trains, mixes, separates, judges, draws.
//!
//! Every step leaves a file and is not repeated when the command is given again: a checkpoint for each network, a file
//! of scores for each mixture.
//!
//! | room | holds |
//! | --- | --- |
//! | [`rows`] | the methods, and the paper's figures |
//! | `scene` | the mixtures |
//! | `run` | one mixture by one method |
//! | `spectra` | average spectra, and how far a Test song lies from the training songs |
//! | `table` | means, spreads, intervals |
//! | `page` | `index.html`, `tables.md`, `scores.csv`, pictures |

mod page;
pub mod rows;
mod run;
mod scene;
mod spectra;
mod table;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

use demix_files::atomic::check_output_folder;
use demix_files::report;
use demix_nn::{Header, Loss};
use demix_signal::settings::Settings as _;
use demix_signal::{Cancelled, Progress, Watch};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use self::rows::{GROUPS, NU_OF_T_IDLMA, Row, Training};
use self::run::{Laboratory, Networks, Score};
use self::scene::Case;
pub use self::table::SongParts;
use super::train::{LossName, TrainFor, TrainRequest, TrainingSettings, train};
use super::{PipelineError, model};
use crate::corpus::{Corpus, Part, Song};

demix_signal::settings! {
    /// How much of the protocol is run.
    pub struct ProtocolSettings {
        /// Test songs at most, in the order of their names; auto: all.
        pub songs: Option<usize> = None, range 1.0 ..= 100000.0;
        /// The first so many seconds of each.
        pub seconds: f64 = 60.0, unit "s", range 1.0 ..= 100000.0;
        /// Recording conditions of each set of sources.
        pub conditions: usize = 2, range 1.0 ..= 2.0;
        /// Whether mixtures of three sources are made, too.
        pub triples: bool = true;
        /// Runs of every method that draws random numbers.
        pub seeds: usize = 3, range 1.0 ..= 1000.0;
        /// Components of each source.
        pub components: usize = 20, range 1.0 ..= 1000.0;
        /// Only the rows ilrma, dnn-wf, idlma, g-pop-idlma, the two methods with demix's defaults, and the true variance.
        pub few_rows: bool = false;
        /// Parts of the songs that tables show apart: NAME=TEXT,NAME=TEXT..., each for the songs whose name holds the
        /// text.
        pub parts: SongParts = SongParts::default();
    }
}

demix_signal::settings_group! {
    /// All settings of `demix reproduce`.
    pub struct ReproduceSettings {
        /// How much is run.
        pub protocol: ProtocolSettings,
        /// The networks.
        pub training: TrainingSettings,
    }
}

/// What `--quick` means: something to look at within ten minutes.
const QUICK: [(&str, &str); 10] = [
    ("songs", "3"),
    ("seconds", "20"),
    ("conditions", "1"),
    ("triples", "false"),
    ("seeds", "1"),
    ("few_rows", "true"),
    ("width", "128"),
    ("epochs", "30"),
    ("batches", "20"),
    ("validation", "2"),
];

/// What to reproduce, from what, where.
#[derive(Clone, Debug)]
pub struct ReproduceRequest {
    /// The corpus.
    pub data: PathBuf,
    /// The folder of the results.
    pub folder: PathBuf,
    /// Folders of responses, one for each number of microphones, with a file for each angle in degrees, as `az-050.wav`;
    /// rooms are simulated where none fits.
    pub responses: Vec<PathBuf>,
    /// A small version that takes minutes.
    pub quick: bool,
    /// Settings by name; they win over those of `quick`.
    pub settings: Vec<(String, String)>,
}

/// What was left.
#[derive(Clone, Debug)]
pub struct Reproduced {
    /// The page.
    pub page: PathBuf,
    /// The tables as text.
    pub tables: String,
    /// How many mixtures were judged.
    pub n_mixtures: usize,
}

/// The scores of one mixture, as its file holds them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MixtureScores {
    /// Name of the song.
    pub song: String,
    /// Names of the sources.
    pub sources: Vec<String>,
    /// Recording condition, counted from 1.
    pub condition: usize,
    /// SDR of the mixture itself, dB.
    pub unprocessed: Vec<f64>,
    /// Distance of the sources' long-term spectra from the nearest training song in dB, the mean over sources.
    pub mismatch: f64,
    /// Runs by row.
    pub rows: BTreeMap<String, Vec<Score>>,
}

/// Runs the protocol, or what is left of it.
///
/// # Errors
/// A corpus without the sources; settings that do not fit, or that differ from those of the results that are there;
/// cancelling, after which the same request goes on.
pub fn reproduce(
    request: &ReproduceRequest,
    say: &mut dyn FnMut(&str),
    watch: &mut dyn Watch,
) -> Result<Reproduced, PipelineError> {
    let wrong = |e: demix_signal::settings::SettingError| PipelineError::WrongUse(e.to_string());
    let mut settings = ReproduceSettings::default();
    let quick =
        QUICK.iter().filter(|_| request.quick).map(|(name, value)| (name.to_string(), value.to_string()));
    for (name, value) in quick.chain(request.settings.iter().cloned()) {
        settings.set(&name, &value).map_err(wrong)?;
    }
    settings.check().map_err(wrong)?;
    let parts = settings.protocol.parts.with_all(settings.protocol.conditions);
    let corpus = Corpus::open(&request.data)?;
    let cases = cases(&corpus, &settings.protocol)?;
    let rows = if settings.protocol.few_rows { Row::few() } else { Row::all() };
    let new_folders = check_output_folder(&request.folder)?;
    same_settings(request, &settings)?;
    drop(new_folders);

    let kinds = kinds(&rows);
    say(&estimate(&settings, &cases, &rows, kinds.len()));
    let networks = networks(request, &settings, &kinds, say, watch)?;
    let (stft, sample_rate) = transform(&networks)?;
    let spectra = spectra::Spectra::of(&corpus, sample_rate)?;
    let components = settings.protocol.components;
    let laboratory = Laboratory { networks, stft, sample_rate, components };
    let scores = separate(request, &settings, &laboratory, &cases, &rows, &spectra, say, watch)?;
    let described = described(request, &settings, &laboratory);
    let tables = page::write(&request.folder, &rows, &scores, &parts, &spectra, &described)?;
    Ok(Reproduced { page: request.folder.join("index.html"), tables, n_mixtures: scores.len() })
}

/// All mixtures: songs, sources, conditions.
fn cases(corpus: &Corpus, protocol: &ProtocolSettings) -> Result<Vec<Case>, PipelineError> {
    for name in GROUPS.iter().flat_map(|group| group.iter()) {
        corpus.check_source(name)?;
    }
    let mut songs: Vec<&Song> = corpus.part(Part::Test).collect();
    songs.sort_by(|a, b| a.name.cmp(&b.name));
    songs.truncate(protocol.songs.unwrap_or(usize::MAX));
    if songs.is_empty() {
        return Err(PipelineError::Request(format!(
            "{}: has no Test songs to separate: put some into its part Test (test)",
            corpus.folder.display()
        )));
    }
    let n_groups = if protocol.triples { GROUPS.len() } else { GROUPS.len() - 1 };
    let mut cases = Vec::new();
    for group in 0..n_groups {
        for song in songs.iter().filter(|song| GROUPS[group].iter().all(|name| song.stem(name).is_some())) {
            cases.extend((0..protocol.conditions).map(|condition| Case {
                song: (*song).clone(),
                group,
                condition,
            }));
        }
    }
    Ok(cases)
}

/// The kinds of networks that rows need.
fn kinds(rows: &[Row]) -> Vec<Training> {
    let mut kinds: Vec<Training> = rows.iter().filter_map(|row| row.needs()).collect();
    kinds.sort();
    kinds.dedup();
    kinds
}

/// The names of all sources.
fn sources() -> Vec<&'static str> {
    let mut names: Vec<&str> = GROUPS.iter().flat_map(|group| group.iter().copied()).collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// The file that holds the settings of a folder of results.
const SETTINGS_FILE: &str = "settings.json";

/// Refuses to mix results of different settings in one folder; writes the settings the first time.
fn same_settings(request: &ReproduceRequest, settings: &ReproduceSettings) -> Result<(), PipelineError> {
    let path = request.folder.join(SETTINGS_FILE);
    let responses: Vec<String> =
        request.responses.iter().map(|folder| folder.display().to_string()).collect();
    let mut now = settings.values();
    now.insert("data".into(), request.data.display().to_string().into());
    now.insert("responses".into(), responses.into());
    if !path.exists() {
        return Ok(report::write_json(&path, &now)?);
    }
    let broken =
        |why: String| PipelineError::Request(format!("{}: {why}; choose another folder", path.display()));
    let before: Map<String, Value> = serde_json::from_slice(&report::read_bytes(&path)?)
        .map_err(|e| broken(format!("is no settings file ({e})")))?;
    for (name, value) in &now {
        let old = before.get(name);
        // more seeds and songs add results to those that are there
        if old != Some(value)
            && !matches!(&name[..], "seeds" | "songs" | "triples" | "conditions" | "few_rows" | "parts")
        {
            let old = old.map_or_else(|| "nothing".into(), Value::to_string);
            return Err(broken(format!("was made with {name}={old}, and {name}={value} is asked for")));
        }
    }
    Ok(())
}

/// What will be done and about how long it takes.
fn estimate(settings: &ReproduceSettings, cases: &[Case], rows: &[Row], n_kinds: usize) -> String {
    let n_networks = n_kinds * sources().len();
    let schedule = &settings.training.schedule;
    let steps = n_networks * schedule.epochs * schedule.batches;
    let step = step_seconds(settings);
    let runs: usize =
        rows.iter().map(|row| cases.len() * if row.is_random() { settings.protocol.seeds } else { 1 }).sum();
    let samples = settings.protocol.seconds * schedule.sample_rate as f64;
    // a loop of 100 iterations takes about this long for each sample
    let run = samples * SECONDS_PER_SAMPLE;
    let hours = (steps as f64 * step + runs as f64 * run) / 3600.0;
    format!(
        "{n_networks} networks of at most {} steps each, {} mixtures, {runs} separations: at most about {hours:.1} hours \
         ({:.1} of them for training) on this machine",
        schedule.epochs * schedule.batches,
        cases.len(),
        steps as f64 * step / 3600.0
    )
}

/// Seconds of a separation of two sources for each sample, as measured on two processors.
const SECONDS_PER_SAMPLE: f64 = 3e-6;

/// About how long a step of training takes: multiplications of the layers, at the speed that this machine has now.
fn step_seconds(settings: &ReproduceSettings) -> f64 {
    let (training, rate) = (&settings.training, settings.training.schedule.sample_rate as u32);
    let header = Header {
        version: demix_nn::VERSION,
        network: training.network.clone(),
        stft: training.transform.for_rate(rate),
        sample_rate: rate,
        source: String::new(),
        loss: Loss::SquareRoot,
        log: Value::Null,
    };
    let n = 192;
    let a = ndarray::Array2::<f32>::ones((n, n));
    let clock = Instant::now();
    let mut sum = 0.0;
    for _ in 0..20 {
        sum += a.dot(&a)[[0, 0]];
    }
    let per_multiplication = clock.elapsed().as_secs_f64() / (20 * n * n * n) as f64;
    debug_assert!(sum > 0.0);
    // forward, and twice as much backward, for every weight and frame
    3.0 * header.n_weights() as f64 * training.trainer.batch as f64 * per_multiplication
}

/// Trains what is not trained yet.
fn networks(
    request: &ReproduceRequest,
    settings: &ReproduceSettings,
    kinds: &[Training],
    say: &mut dyn FnMut(&str),
    watch: &mut dyn Watch,
) -> Result<Networks, PipelineError> {
    let mut networks = Networks::new();
    for &kind in kinds {
        for source in sources() {
            let path = request.folder.join("networks").join(format!("{source}-{}.safetensors", kind.name()));
            if !path.exists() {
                say(&format!("training {}", path.display()));
                let (method, nu) = match kind {
                    Training::Plain | Training::Likelihood => (TrainFor::GPopIdlma, None),
                    Training::Student => (TrainFor::TIdlma, Some(NU_OF_T_IDLMA)),
                    Training::EmpiricalBayes => (TrainFor::EbIdlma, None),
                    Training::Product => (TrainFor::TPopIdlma, None),
                };
                let mut values = settings.training.values();
                if kind == Training::Likelihood {
                    values.insert("loss".into(), LossName::ItakuraSaito.to_string().into());
                }
                let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_string);
                train(
                    &TrainRequest {
                        data: request.data.clone(),
                        source: source.into(),
                        output: path.clone(),
                        method,
                        nu,
                        settings: values.iter().map(|(name, value)| (name.clone(), text(value))).collect(),
                        resume: has_state(&path),
                        overwrite: true,
                    },
                    say,
                    watch,
                )?;
            }
            networks.entry(kind).or_default().insert(source.into(), model::read(source, &path)?);
        }
    }
    Ok(networks)
}

/// Whether a training was interrupted.
fn has_state(checkpoint: &Path) -> bool {
    super::train::state_file(checkpoint).exists()
}

/// The networks' transform and rate.
fn transform(networks: &Networks) -> Result<(demix_signal::StftSettings, u32), PipelineError> {
    let all: Vec<_> = networks.values().flat_map(|of_kind| of_kind.values().cloned()).collect();
    let (stft, rate, _) = crate::spatial::guided::common_transform(&all, &[], "reproduce")
        .map_err(|e| PipelineError::Request(e.to_string()))?;
    Ok((stft, rate))
}

/// Runs and judges everything that has no score yet.
#[allow(clippy::too_many_arguments)] // the parts of one sentence
fn separate(
    request: &ReproduceRequest,
    settings: &ReproduceSettings,
    laboratory: &Laboratory,
    cases: &[Case],
    rows: &[Row],
    spectra: &spectra::Spectra,
    say: &mut dyn FnMut(&str),
    watch: &mut dyn Watch,
) -> Result<Vec<MixtureScores>, PipelineError> {
    let folder = request.folder.join("scores");
    let mut all = Vec::new();
    for (at, case) in cases.iter().enumerate() {
        tell(watch, at, cases.len())?;
        let path = folder.join(format!("{}.json", case.key()));
        let mut kept: Option<MixtureScores> = match path.exists() {
            true => Some(serde_json::from_slice(&report::read_bytes(&path)?).map_err(|e| {
                PipelineError::Request(format!("{}: is no file of scores ({e}); remove it", path.display()))
            })?),
            false => None,
        };
        let wanted = |row: Row| if row.is_random() { settings.protocol.seeds as u64 } else { 1 };
        let has = |kept: &Option<MixtureScores>, row: Row, seed: u64| {
            let runs = kept.as_ref().and_then(|kept| kept.rows.get(&row.key()));
            runs.is_some_and(|runs| runs.iter().any(|run| run.seed == seed))
        };
        let missing: Vec<(Row, u64)> = rows
            .iter()
            .flat_map(|&row| (0..wanted(row)).map(move |seed| (row, seed)))
            .filter(|&(row, seed)| !has(&kept, row, seed))
            .collect();
        if !missing.is_empty() {
            let seconds = settings.protocol.seconds;
            let Some(scene) = case.scene(&request.responses, laboratory.sample_rate, seconds, watch)? else {
                say(&format!("{}: a stem is silent, left out", case.key()));
                continue;
            };
            let scores = kept.get_or_insert_with(|| MixtureScores {
                song: case.song.name.clone(),
                sources: case.sources().iter().map(|name| name.to_string()).collect(),
                condition: case.condition + 1,
                unprocessed: scene.unprocessed.sdr.clone(),
                mismatch: spectra.mismatch(&case.song.name, case.sources()),
                rows: BTreeMap::new(),
            });
            for (row, seed) in missing {
                let score = laboratory.run(
                    &scene,
                    case.sources(),
                    row,
                    seed,
                    &mut Quiet { outer: watch, at, total: cases.len() },
                )?;
                scores.rows.entry(row.key()).or_default().push(score);
                report::write_json(&path, scores)?;
            }
        }
        all.extend(kept);
    }
    tell(watch, cases.len(), cases.len())?;
    Ok(all)
}

fn tell(watch: &mut dyn Watch, done: usize, total: usize) -> Result<(), PipelineError> {
    watch
        .progress(Progress { stage: "separate", done, total, cost: None })
        .map_err(|_| PipelineError::Cancelled)
}

/// Shows mixtures instead of the iterations of each.
struct Quiet<'a> {
    outer: &'a mut dyn Watch,
    at: usize,
    total: usize,
}

impl Watch for Quiet<'_> {
    fn progress(&mut self, _: Progress) -> Result<(), Cancelled> {
        let (done, total) = (self.at, self.total);
        self.outer.progress(Progress { stage: "separate", done, total, cost: None })
    }
}

/// What the page says of how its figures were made.
fn described(request: &ReproduceRequest, settings: &ReproduceSettings, laboratory: &Laboratory) -> Value {
    let of_network = |network: &crate::spatial::SourceNetwork| {
        let header = network.network.header();
        json!({ "file": network.file, "loss": header.loss.to_string(), "log": header.log })
    };
    let networks: Vec<Value> =
        laboratory.networks.values().flat_map(|of_kind| of_kind.values()).map(of_network).collect();
    json!({
        "demix": crate::VERSION,
        "data": request.data.display().to_string(),
        "responses": request.responses.iter().map(|folder| folder.display().to_string()).collect::<Vec<_>>(),
        "settings": settings.values(),
        "networks": networks,
    })
}
