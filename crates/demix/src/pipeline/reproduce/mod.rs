//! The protocol and the tables of Hasumi et al. 2023 on a corpus of songs: trains, mixes, separates, judges, draws.
//!
//! Every step leaves a file and is not repeated when the command is given again: a checkpoint for each network, a file
//! of scores for each mixture.
//!
//! | room | holds |
//! | --- | --- |
//! | [`rows`] | the methods, and the paper's figures |
//! | `folder` | the settings that the results of a folder are bound to |
//! | `networks` | what is trained |
//! | `scene` | the mixtures |
//! | `run` | one mixture by one method |
//! | `estimate` | how long the rest takes |
//! | `spectra` | average spectra, and how far a Test song lies from the training songs |
//! | `table` | means, spreads, intervals |
//! | `page` | `index.html`, `tables.md`, `scores.csv`, `energies.csv`, `bands.csv`, pictures |

mod estimate;
mod folder;
mod networks;
mod page;
pub mod rows;
mod run;
mod scene;
mod spectra;
mod table;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use demix_files::atomic::{NewFolders, check_output_folder};
use demix_files::report;
use demix_signal::settings::Settings as _;
use demix_signal::{Cancelled, Progress, Watch};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use self::folder::{Folder, SCORES_ENDING, scores_folder};
use self::networks::Workshop;
use self::rows::{GROUPS, Row};
use self::run::{Laboratory, Score};
use self::scene::{Case, Infos, Responses};
pub use self::table::SongParts;
use super::PipelineError;
use super::train::TrainingSettings;
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
        /// Only the rows ilrma, dnn-wf, idlma, g-pop-idlma, ilrma, idlma and g-pop-idlma with demix's defaults, and the
        /// true variance.
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
    #[serde(deserialize_with = "run::numbers")]
    pub unprocessed: Vec<f64>,
    /// Distance of the sources' long-term spectra from the nearest training song in dB, the mean over sources.
    pub mismatch: f64,
    /// Runs by row.
    pub rows: BTreeMap<String, Vec<Score>>,
}

impl MixtureScores {
    /// Refuses numbers that are not of this mixture, whoever reads it may rely on how many there are.
    fn check(&self, case: &Case) -> Result<(), String> {
        let n = case.sources().len();
        let is_of_case = self.song == case.song.name
            && self.sources.iter().eq(case.sources())
            && self.condition == case.condition + 1;
        if !is_of_case {
            return Err(format!("it is of {}, {}", self.song, self.sources.join(" and ")));
        }
        if self.unprocessed.len() != n {
            return Err(format!("{} figures of the mixture, {n} sources", self.unprocessed.len()));
        }
        for (row, run) in self.rows.iter().flat_map(|(row, runs)| runs.iter().map(move |run| (row, run))) {
            if (run.sdr.len(), run.improvement.len()) != (n, n) {
                return Err(format!(
                    "{row}: {} figures, {n} sources",
                    run.sdr.len().min(run.improvement.len())
                ));
            }
            let n_looks = run.iterations.len();
            if run.energies.len() > n_looks || run.bands.len() > n_looks {
                return Err(format!("{row}: looks at {n_looks} iterations do not fit together"));
            }
        }
        Ok(())
    }

    /// Without the runs of other seeds, which an earlier call of more seeds left.
    fn of_seeds(mut self, n_seeds: usize) -> Self {
        for runs in self.rows.values_mut() {
            runs.retain(|run| run.seed < n_seeds as u64);
        }
        self.rows.retain(|_, runs| !runs.is_empty());
        self
    }
}

/// Runs the protocol, or what is left of it; `say` hears every sentence that a user should read.
///
/// # Errors
/// A corpus without the sources, whose Test stems do not fit together, or with too few songs to train on; responses that
/// are not there; settings that do not fit, or that differ from those of the results that are there: all of this before
/// anything is trained or written. Cancelling, after which the same request goes on.
pub fn reproduce(
    request: &ReproduceRequest,
    say: &mut dyn FnMut(&str),
    watch: &mut dyn Watch,
) -> Result<Reproduced, PipelineError> {
    let settings = settings(request)?;
    let corpus = Corpus::open(&request.data)?;
    let done = Plan::new(request, &settings, &corpus)?.run(say, watch);
    if matches!(done, Err(PipelineError::Cancelled)) {
        say(&format!(
            "stopped; what is done is kept in {}: the same command again goes on",
            request.folder.display()
        ));
    }
    done
}

/// The defaults, what `quick` means, what is asked for.
fn settings(request: &ReproduceRequest) -> Result<ReproduceSettings, PipelineError> {
    let wrong = |e: demix_signal::settings::SettingError| PipelineError::WrongUse(e.to_string());
    let mut settings = ReproduceSettings::default();
    let quick =
        QUICK.iter().filter(|_| request.quick).map(|(name, value)| (name.to_string(), value.to_string()));
    for (name, value) in quick.chain(request.settings.iter().cloned()) {
        settings.set(&name, &value).map_err(wrong)?;
    }
    settings.check().map_err(wrong)?;
    Ok(settings)
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
    if cases.is_empty() {
        return Err(PipelineError::Request(format!(
            "{}: none of its {} Test songs has {}: put these stems into one folder each",
            corpus.folder.display(),
            songs.len(),
            GROUPS[..n_groups].iter().map(|group| group.join(" and ")).collect::<Vec<_>>().join(", or ")
        )));
    }
    Ok(cases)
}

/// A mixture, and what is known of it before it is made.
struct Mixture {
    case: Case,
    /// Its length.
    seconds: f64,
    file: PathBuf,
    /// The scores that are there.
    scores: Option<MixtureScores>,
    /// Rows and seeds without a score.
    missing: Vec<(Row, u64)>,
    /// How many of those that are asked for have one.
    n_kept: usize,
}

/// A reproduction that can begin: whatever can be refused before sounds are decoded is refused.
struct Plan<'a> {
    request: &'a ReproduceRequest,
    settings: &'a ReproduceSettings,
    corpus: &'a Corpus,
    rows: Vec<Row>,
    responses: Vec<Responses>,
    mixtures: Vec<Mixture>,
    workshop: Workshop<'a>,
    /// With networks that stand in for those that are not trained yet.
    laboratory: Laboratory,
    folder: Folder,
    // those still empty are removed again when this is dropped
    _new_folders: NewFolders,
}

impl<'a> Plan<'a> {
    fn new(
        request: &'a ReproduceRequest,
        settings: &'a ReproduceSettings,
        corpus: &'a Corpus,
    ) -> Result<Self, PipelineError> {
        let protocol = &settings.protocol;
        let cases = cases(corpus, protocol)?;
        let rows = if protocol.few_rows { Row::few() } else { Row::all() };
        let responses: Vec<Responses> =
            request.responses.iter().map(|folder| Responses::open(folder)).collect::<Result<_, _>>()?;
        let mut infos = Infos::default();
        let mixtures = cases
            .into_iter()
            .map(|case| {
                let seconds = case.check(&responses, protocol.seconds, &mut infos)?;
                Mixture::new(case, seconds, request, protocol, &rows)
            })
            .collect::<Result<Vec<_>, _>>()?;
        let kinds = networks::kinds(&rows);
        let folder = Folder::new(request, settings)?;
        let workshop = Workshop::new(&request.data, &request.folder, corpus, &settings.training, &kinds)?;
        let laboratory = Laboratory {
            networks: workshop.stand_ins()?,
            stft: workshop.stft().clone(),
            sample_rate: workshop.sample_rate(),
            components: protocol.components,
        };
        let all: Vec<_> = laboratory.networks.values().flat_map(|kind| kind.values().cloned()).collect();
        crate::spatial::guided::common_transform(&all, &[], "reproduce")
            .map_err(|why| PipelineError::Request(why.to_string()))?;
        for group in mixtures.iter().map(|mixture| mixture.case.group).collect::<BTreeSet<_>>() {
            for row in &rows {
                laboratory.check(GROUPS[group], *row)?;
            }
        }
        let _new_folders = check_output_folder(&request.folder)?;
        Ok(Self {
            request,
            settings,
            corpus,
            rows,
            responses,
            mixtures,
            workshop,
            laboratory,
            folder,
            _new_folders,
        })
    }

    fn run(mut self, say: &mut dyn FnMut(&str), watch: &mut dyn Watch) -> Result<Reproduced, PipelineError> {
        self.announce_rooms(say);
        say(&self.estimate(watch)?);
        let networks = std::mem::take(&mut self.laboratory.networks);
        self.laboratory.networks = self.workshop.train(networks, &mut self.folder, say, watch)?;
        let file = self.request.folder.join("spectra.json");
        let spectra = spectra::Spectra::of(self.corpus, self.laboratory.sample_rate, &file, watch)?;
        self.separate(&spectra, say, watch)?;

        let protocol = &self.settings.protocol;
        let parts = protocol.parts.with_all(protocol.conditions);
        let described = described(self.request, self.settings, &self.laboratory);
        let scores: Vec<MixtureScores> = self
            .mixtures
            .into_iter()
            .filter_map(|mixture| mixture.scores)
            .map(|scores| scores.of_seeds(protocol.seeds))
            .collect();
        let tables = page::write(&self.request.folder, &self.rows, &scores, &parts, &spectra, &described)?;
        let page = self.request.folder.join("index.html");
        Ok(Reproduced { page, tables, n_mixtures: scores.len() })
    }

    /// Says where rooms stand in for responses that are missing beside others.
    fn announce_rooms(&self, say: &mut dyn FnMut(&str)) {
        let sizes: BTreeSet<usize> = self.mixtures.iter().map(|m| m.case.sources().len()).collect();
        for n in sizes.into_iter().filter(|_| !self.responses.is_empty()) {
            if self.responses.iter().all(|folder| folder.n_microphones() != n) {
                say(&format!(
                    "no folder of responses has {n} microphones: rooms are simulated for {n} sources"
                ));
            }
        }
    }

    /// What is left to do, and about how long it takes.
    fn estimate(&self, watch: &mut dyn Watch) -> Result<String, PipelineError> {
        let schedule = &self.settings.training.schedule;
        let (finished, n_networks) = self.workshop.n_finished();
        let runs: Vec<estimate::Run> = self
            .mixtures
            .iter()
            .flat_map(|mixture| {
                let (n_sources, seconds) = (mixture.case.sources().len(), mixture.seconds);
                mixture.missing.iter().map(move |&(row, _)| estimate::Run { row, n_sources, seconds })
            })
            .collect();
        let n_kept: usize = self.mixtures.iter().map(|mixture| mixture.n_kept).sum();
        let training = self.workshop.seconds(watch)?;
        let mut quiet = Quiet { outer: watch, stage: "estimate", done: 0, total: 1 };
        let separation = estimate::separation_seconds(&self.laboratory, &runs, &mut quiet)?;
        let there = match finished + n_kept {
            0 => String::new(),
            _ => format!("; {finished} networks and {n_kept} separations are there"),
        };
        Ok(format!(
            "{n_networks} networks of at most {} steps each, {} mixtures, {} separations{there}: about {} at most \
             ({} of training) on this machine",
            schedule.epochs * schedule.batches,
            self.mixtures.len(),
            runs.len() + n_kept,
            estimate::in_words(training + separation),
            estimate::in_words(training),
        ))
    }

    /// Runs and judges everything that has no score yet.
    fn separate(
        &mut self,
        spectra: &spectra::Spectra,
        say: &mut dyn FnMut(&str),
        watch: &mut dyn Watch,
    ) -> Result<(), PipelineError> {
        const STAGE: &str = "separate";
        let mut done: usize = self.mixtures.iter().map(|mixture| mixture.n_kept).sum();
        let total = done + self.mixtures.iter().map(|mixture| mixture.missing.len()).sum::<usize>();
        tell(watch, STAGE, done, total)?;
        for mixture in self.mixtures.iter_mut().filter(|mixture| !mixture.missing.is_empty()) {
            let (case, rate) = (&mixture.case, self.laboratory.sample_rate);
            let mut quiet = Quiet { outer: &mut *watch, stage: STAGE, done, total };
            let Some(scene) =
                case.scene(&self.responses, rate, self.settings.protocol.seconds, &mut quiet)?
            else {
                say(&format!("{}: a stem is silent, left out", case.key()));
                done += mixture.missing.len();
                continue;
            };
            let scores = mixture.scores.get_or_insert_with(|| MixtureScores {
                song: case.song.name.clone(),
                sources: case.sources().iter().map(|name| name.to_string()).collect(),
                condition: case.condition + 1,
                unprocessed: scene.unprocessed.sdr.clone(),
                mismatch: spectra.mismatch(&case.song.name, case.sources()),
                rows: BTreeMap::new(),
            });
            self.folder.bind()?;
            for &(row, seed) in &mixture.missing {
                let mut quiet = Quiet { outer: &mut *watch, stage: STAGE, done, total };
                let score = self.laboratory.run(&scene, case.sources(), row, seed, &mut quiet)?;
                scores.rows.entry(row.key()).or_default().push(score);
                report::write_json(&mixture.file, scores)?;
                done += 1;
                tell(watch, STAGE, done, total)?;
            }
        }
        tell(watch, STAGE, total, total)
    }
}

impl Mixture {
    fn new(
        case: Case,
        seconds: f64,
        request: &ReproduceRequest,
        protocol: &ProtocolSettings,
        rows: &[Row],
    ) -> Result<Self, PipelineError> {
        let file = scores_folder(&request.folder).join(format!("{}.{SCORES_ENDING}", case.key()));
        let scores: Option<MixtureScores> = match file.exists() {
            true => Some(serde_json::from_slice(&report::read_bytes(&file)?).map_err(|e| {
                PipelineError::Request(format!("{}: is no file of scores ({e}); remove it", file.display()))
            })?),
            false => None,
        };
        if let Some(scores) = &scores {
            scores.check(&case).map_err(|why| {
                PipelineError::Request(format!("{}: is damaged ({why}); remove it", file.display()))
            })?;
        }
        let n_seeds = |row: Row| if row.is_random() { protocol.seeds as u64 } else { 1 };
        let is_there = |row: Row, seed: u64| {
            let runs = scores.as_ref().and_then(|scores| scores.rows.get(&row.key()));
            runs.is_some_and(|runs| runs.iter().any(|run| run.seed == seed))
        };
        let wanted = rows.iter().flat_map(|&row| (0..n_seeds(row)).map(move |seed| (row, seed)));
        let (kept, missing): (Vec<_>, Vec<_>) = wanted.partition(|&(row, seed)| is_there(row, seed));
        Ok(Self { case, seconds, file, scores, missing, n_kept: kept.len() })
    }
}

/// Tells of one stage.
fn tell(watch: &mut dyn Watch, stage: &'static str, done: usize, total: usize) -> Result<(), PipelineError> {
    Ok(watch.progress(Progress { stage, done, total, cost: None })?)
}

/// Shows the steps of a stage instead of those inside each.
struct Quiet<'a> {
    outer: &'a mut dyn Watch,
    stage: &'static str,
    done: usize,
    total: usize,
}

impl Watch for Quiet<'_> {
    fn progress(&mut self, _: Progress) -> Result<(), Cancelled> {
        let Self { stage, done, total, .. } = *self;
        self.outer.progress(Progress { stage, done, total, cost: None })
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
