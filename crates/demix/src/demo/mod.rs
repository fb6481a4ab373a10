//! `demix demo`: three little pieces, made here, taken apart and judged; no file, no network.
//!
//! | case | piece | shows |
//! | --- | --- | --- |
//! | `mary` | 'Mary had a little lamb' on three pitches, K = 3 | one component per pitch, found without being told |
//! | `chord` | three notes, then their chord, K = 3 and 4 | a chord taken apart; the fourth component catches the attacks |
//! | `loop` | drums and bass, K = 25 + 25 | unsupervised, semi-supervised, supervised |
//!
//! | room | holds |
//! | --- | --- |
//! | [`synth`] | struck string, electric bass, drum kit |
//! | [`songs`] | the pieces, as stems and mixtures |
//! | `cases` | the separations of each piece |
//! | `pictures` | what is drawn of them |
//! | `page` | `index.html`, which plays and shows all of it |
//!
//! The pieces and their factorisations are those with which courses on the subject begin. No separation sees the
//! references; they serve the scores, and the names of what was found without names. Everything stays in memory:
//! [`DemoResult::files`] are for the caller to write.

mod cases;
pub(crate) mod page;
mod pictures;
pub mod songs;
pub mod synth;

use demix_eval::EvalError;
use demix_signal::{Cancelled, Progress, Watch, Waveform};

use crate::separation::SeparationError;

demix_signal::settings! {
    /// Settings of the demo.
    pub struct DemoSettings {
        /// Random numbers of players and factorisations: the same seed gives the same result.
        pub seed: u64 = 0;
        /// Draw pictures, which takes half of the time.
        pub pictures: bool = true;
    }
}

/// A demo that did not come to its end.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// A separation failed or was cancelled.
    #[error(transparent)]
    Separation(#[from] SeparationError),
    /// The judge refused.
    #[error(transparent)]
    Eval(#[from] EvalError),
}

impl DemoError {
    /// Whether the caller's watch ended the work.
    pub fn is_cancelled(&self) -> bool {
        matches!(self, Self::Separation(error) if error.is_cancelled())
    }
}

impl From<Cancelled> for DemoError {
    fn from(cancelled: Cancelled) -> Self {
        Self::Separation(cancelled.into())
    }
}

/// Everything that the demo made.
#[derive(Clone, Debug)]
pub struct DemoResult {
    /// The cases, in the order of the page.
    pub cases: Vec<DemoCase>,
    /// Whether more knowledge gave better sound in the loop.
    pub ranking: Ranking,
    /// Sound, pictures and `index.html`.
    pub files: Vec<DemoFile>,
}

/// One piece and its separations.
#[derive(Clone, Debug)]
pub struct DemoCase {
    /// Folder of its files: `mary`, `chord`, `loop`.
    pub id: &'static str,
    /// Heading.
    pub title: &'static str,
    /// What is heard, and why it matters.
    pub text: &'static str,
    /// Path of the mixture's sound.
    pub mixture: String,
    /// Its separations.
    pub attempts: Vec<Attempt>,
    /// Pictures of the whole case.
    pub pictures: Vec<Illustration>,
    /// What the scores say, in a sentence or two.
    pub finding: String,
}

/// One separation of a piece.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// Folder of its files in that of the case: `k3`, `supervised`...
    pub id: &'static str,
    /// For tables: `K = 3`, `supervised`...
    pub name: &'static str,
    /// What was given and what was found.
    pub text: &'static str,
    /// The sources, in the order of the references.
    pub sources: Vec<SourceScore>,
    /// Pictures of factors, masks and sources.
    pub pictures: Vec<Illustration>,
}

impl Attempt {
    /// Mean SI-SDR over the sources, in dB.
    pub fn mean_si_sdr(&self) -> f64 {
        mean(self.sources.iter().map(|source| source.si_sdr))
    }

    /// Mean improvement over the mixture, in dB.
    pub fn mean_improvement(&self) -> f64 {
        mean(self.sources.iter().map(SourceScore::improvement))
    }
}

fn mean(values: impl ExactSizeIterator<Item = f64>) -> f64 {
    let n = values.len() as f64;
    values.sum::<f64>() / n
}

/// A separated source and its score.
#[derive(Clone, Debug)]
pub struct SourceScore {
    /// `bass`, `E4`...
    pub name: String,
    /// Path of what it should be.
    pub reference: String,
    /// Path of what was separated.
    pub separated: String,
    /// SI-SDR of the separated source, in dB.
    pub si_sdr: f64,
    /// SI-SDR of the mixture in its place, in dB.
    pub mixture_si_sdr: f64,
}

impl SourceScore {
    /// How much the separation gained, in dB.
    pub fn improvement(&self) -> f64 {
        self.si_sdr - self.mixture_si_sdr
    }
}

/// A picture on the page.
#[derive(Clone, Debug)]
pub struct Illustration {
    /// Path of the PNG file.
    pub path: String,
    /// A line below it.
    pub caption: String,
    /// What it shows, for those who do not see it.
    pub alt: String,
    /// Width and height in pixels.
    pub size: (usize, usize),
}

/// Whether supervised is better than semi-supervised, and that better than unsupervised.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ranking {
    /// For both semi-supervised separations.
    pub holds: bool,
    /// That, with the numbers; where not, it says so.
    pub sentence: String,
}

/// A file of the demo.
#[derive(Clone, Debug)]
pub struct DemoFile {
    /// Relative path with `/` between folder and name: `loop/supervised/bass.wav`.
    pub path: String,
    /// What to write.
    pub content: DemoContent,
}

/// What a file of the demo holds.
#[derive(Clone, Debug)]
pub enum DemoContent {
    /// Sound, to be written as a WAV file that browsers play: 16-bit integer.
    Sound(Waveform),
    /// Bytes, to be written as they are: PNG or HTML.
    Bytes(Vec<u8>),
}

/// A row of the table of scores.
#[derive(Clone, Debug, PartialEq)]
pub struct ScoreRow<'a> {
    /// `mary`, `chord`, `loop`.
    pub case: &'a str,
    /// `K = 3`, `supervised`...
    pub attempt: &'a str,
    /// `bass`, `E4`...
    pub source: &'a str,
    /// SI-SDR in dB.
    pub si_sdr: f64,
    /// Improvement over the mixture in dB.
    pub improvement: f64,
}

impl DemoResult {
    /// The table of scores, row by row.
    pub fn rows(&self) -> Vec<ScoreRow<'_>> {
        let mut rows = Vec::new();
        for case in &self.cases {
            for attempt in &case.attempts {
                rows.extend(attempt.sources.iter().map(|source| ScoreRow {
                    case: case.id,
                    attempt: attempt.name,
                    source: &source.name,
                    si_sdr: source.si_sdr,
                    improvement: source.improvement(),
                }));
            }
        }
        rows
    }
}

/// Makes the pieces, separates and judges them, draws the pictures and writes the page.
///
/// # Errors
/// Cancelling; anything else would be a fault of the demo.
pub fn run(settings: &DemoSettings, watch: &mut dyn Watch) -> Result<DemoResult, DemoError> {
    let mut steps = Steps { watch, done: 0, total: cases::STEPS };
    let mut files = Vec::new();
    let mut cases = Vec::new();
    for case in [cases::mary, cases::chord, cases::drums_and_bass] {
        cases.push(case(settings, &mut steps, &mut files)?);
    }
    let ranking = Ranking::of(&cases[2].attempts);
    cases[2].finding = ranking.sentence.clone();
    let page = page::index(&cases, settings.seed);
    files.push(DemoFile { path: "index.html".into(), content: DemoContent::Bytes(page.into_bytes()) });
    Ok(DemoResult { cases, ranking, files })
}

impl Ranking {
    /// Of the separations of the loop, found by their id.
    fn of(attempts: &[Attempt]) -> Self {
        let score = |id: &str| {
            attempts.iter().find(|attempt| attempt.id == id).map_or(f64::NAN, Attempt::mean_si_sdr)
        };
        let (supervised, unsupervised) = (score("supervised"), score("unsupervised"));
        let semi = [("drums known", score("drums-known")), ("bass known", score("bass-known"))];
        let numbers = format!(
            "supervised {supervised:.1} dB, semi-supervised {:.1} dB ({}) and {:.1} dB ({}), \
             unsupervised {unsupervised:.1} dB",
            semi[0].1, semi[0].0, semi[1].1, semi[1].0
        );
        let mut exceptions = Vec::new();
        for (what, score) in semi {
            // NaN is an exception, too
            if !matches!(supervised.partial_cmp(&score), Some(std::cmp::Ordering::Greater)) {
                exceptions.push(format!("supervised is not better than semi-supervised with {what}"));
            }
            if !matches!(score.partial_cmp(&unsupervised), Some(std::cmp::Ordering::Greater)) {
                exceptions.push(format!("semi-supervised with {what} is not better than unsupervised"));
            }
        }
        let holds = exceptions.is_empty();
        let sentence = if holds {
            format!("The more is known, the better it sounds. Mean SI-SDR: {numbers}.")
        } else {
            format!(
                "More knowledge is not always better here: {}. Mean SI-SDR: {numbers}.",
                exceptions.join("; ")
            )
        };
        Self { holds, sentence }
    }
}

/// Progress of the whole, made of that of its factorisations.
struct Steps<'a> {
    watch: &'a mut dyn Watch,
    done: usize,
    total: usize,
}

/// What a step counts in the progress of the whole.
const STEP: usize = 100;

impl Steps<'_> {
    /// Runs one step, whose own progress is passed on as a part of the whole.
    fn step<R, E: From<Cancelled>>(
        &mut self,
        work: impl FnOnce(&mut dyn Watch) -> Result<R, E>,
    ) -> Result<R, E> {
        let mut part = Part { steps: self, furthest: 0 };
        let result = work(&mut part)?;
        self.done += 1;
        self.tell(0, None)?;
        Ok(result)
    }

    fn tell(&mut self, part: usize, cost: Option<f64>) -> Result<(), Cancelled> {
        let (done, total) = (STEP * self.done + part, STEP * self.total);
        self.watch.progress(Progress { stage: "demo", done, total, cost })
    }
}

/// One step; its stages (factorise, synthesis...) count from zero each, the whole never goes back.
struct Part<'a, 'b> {
    steps: &'a mut Steps<'b>,
    furthest: usize,
}

impl Watch for Part<'_, '_> {
    fn progress(&mut self, progress: Progress) -> Result<(), Cancelled> {
        let part = STEP * progress.done.min(progress.total) / progress.total.max(1);
        self.furthest = part.min(STEP - 1).max(self.furthest);
        self.steps.tell(self.furthest, progress.cost)
    }
}

#[cfg(test)]
mod tests;
