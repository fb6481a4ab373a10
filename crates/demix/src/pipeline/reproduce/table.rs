//! Means over mixtures, spreads over seeds, intervals: what the tables hold.

use std::fmt::Write as _;

use demix_signal::settings::SettingValue;
use serde_json::Value;

use super::MixtureScores;
use super::rows::{ETAS, GROUPS, NUS, Row};
use super::run::Score;
use crate::pipeline::evaluate::statistics::Summary;

/// Seed of the bootstrap.
const SEED: u64 = 0;

/// A part of the mixtures; all of them by default.
#[derive(Clone, Debug, PartialEq)]
pub struct SongPart {
    /// Title of its table.
    pub name: String,
    /// What the names of its songs hold.
    pub text: String,
    /// Its recording condition, counted from 1; none for all.
    pub condition: Option<usize>,
}

impl Default for SongPart {
    fn default() -> Self {
        Self { name: "all songs".into(), text: String::new(), condition: None }
    }
}

/// Parts of the songs, as `NAME=TEXT,NAME=TEXT`; none for all songs alone.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SongParts(Vec<SongPart>);

impl SongParts {
    /// All songs, then the parts; where there are several recording conditions, the same for each of them.
    pub fn with_all(&self, n_conditions: usize) -> Vec<SongPart> {
        let conditions =
            std::iter::once(None).chain((1..=n_conditions).filter(|_| n_conditions > 1).map(Some));
        let parts: Vec<SongPart> =
            std::iter::once(SongPart::default()).chain(self.0.iter().cloned()).collect();
        let of_condition = |part: &SongPart, condition: Option<usize>| SongPart {
            name: condition.map_or(part.name.clone(), |c| format!("{}, recording condition {c}", part.name)),
            condition,
            ..part.clone()
        };
        conditions.flat_map(|c| parts.iter().map(move |part| of_condition(part, c))).collect()
    }
}

impl SettingValue for SongParts {
    const KIND: &'static str = "text";
    fn parse(text: &str) -> Result<Self, String> {
        let part = |part: &str| match part.split_once('=') {
            Some((name, text)) => {
                Ok(SongPart { name: name.trim().into(), text: text.trim().into(), ..SongPart::default() })
            }
            None => {
                Err("NAME=TEXT was expected, where the names of the part's songs hold the text".to_string())
            }
        };
        let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
        Ok(Self(parts.map(part).collect::<Result<_, _>>()?))
    }
    fn to_value(&self) -> Value {
        let parts: Vec<String> = self.0.iter().map(|part| format!("{}={}", part.name, part.text)).collect();
        parts.join(",").into()
    }
}

/// One cell of a table: SDR improvement in dB.
#[derive(Clone, Debug, PartialEq)]
pub struct Cell {
    /// Mean over sources, seeds and mixtures.
    pub mean: f64,
    /// Bootstrap interval of it over mixtures, 95 %.
    pub interval: (f64, f64),
    /// Standard deviation of the means of single seeds; NaN for one seed.
    pub spread: f64,
    /// Mixtures.
    pub n: usize,
}

impl Cell {
    /// As tables show it in a column of `n_column` mixtures, with `plus_minus` before the spread.
    pub fn text(&self, n_column: usize, plus_minus: &str) -> String {
        let spread = match self.spread.is_finite() {
            true => format!(" {plus_minus}{:.2}", self.spread),
            false => String::new(),
        };
        // a mean over other mixtures is no neighbour of the means above and below it
        let other = match self.n == n_column {
            true => String::new(),
            false => format!(", {} mixtures", self.n),
        };
        format!("{:.2} [{:.1}, {:.1}]{spread}{other}", self.mean, self.interval.0, self.interval.1)
    }
}

/// The mixtures of a group and part.
fn of_part<'a>(
    scores: &'a [MixtureScores],
    group: usize,
    part: &SongPart,
) -> impl Iterator<Item = &'a MixtureScores> {
    scores.iter().filter(move |s| {
        s.sources.iter().eq(GROUPS[group].iter())
            && s.song.contains(&part.text)
            && part.condition.is_none_or(|condition| s.condition == condition)
    })
}

/// How many mixtures of a group and part were separated by any of the rows.
pub fn n_mixtures(rows: &[Row], scores: &[MixtureScores], group: usize, part: &SongPart) -> usize {
    let is_separated = |s: &&MixtureScores| rows.iter().any(|row| s.rows.contains_key(&row.key()));
    of_part(scores, group, part).filter(is_separated).count()
}

/// Which runs of a mixture count.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pick {
    /// Those of one row.
    Row(Row),
    /// For each seed that of the eta with the lowest cost: a choice without labels.
    LowestCostOfEta,
    /// For each seed that of the nu with the lowest cost.
    LowestCostOfNu,
    /// For each seed that of the eta whose outputs the networks recognise best: a choice without labels.
    BestRecognisedEta,
    /// For each seed that of the nu whose outputs the networks recognise best.
    BestRecognisedNu,
    /// For each seed the best eta of all, known in hindsight.
    BestEta,
    /// For each seed the best nu of all, known in hindsight.
    BestNu,
}

impl Pick {
    /// Title of the row.
    pub fn title(self) -> String {
        match self {
            Self::Row(row) => row.key(),
            Self::LowestCostOfEta => "g-pop-idlma, eta of the lowest cost".into(),
            Self::LowestCostOfNu => "t-pop-idlma, nu of the lowest cost".into(),
            Self::BestRecognisedEta => "g-pop-idlma, eta of the best recognition".into(),
            Self::BestRecognisedNu => "t-pop-idlma, nu of the best recognition".into(),
            Self::BestEta => "g-pop-idlma, best eta in hindsight".into(),
            Self::BestNu => "t-pop-idlma, best nu in hindsight".into(),
        }
    }

    /// (seed, mean improvement over sources) of a mixture.
    fn runs(self, scores: &MixtureScores) -> Vec<(u64, f64)> {
        let runs = |row: &Row| scores.rows.get(&row.key()).into_iter().flatten();
        let improvement = |run: &Score| run.improvement.iter().sum::<f64>() / run.improvement.len() as f64;
        let rows: Vec<Row> = match self {
            Self::Row(row) => vec![row],
            Self::LowestCostOfEta | Self::BestRecognisedEta | Self::BestEta => ETAS.map(Row::GPop).to_vec(),
            Self::LowestCostOfNu | Self::BestRecognisedNu | Self::BestNu => NUS.map(Row::TPop).to_vec(),
        };
        let mut seeds: Vec<u64> = rows.iter().flat_map(runs).map(|run| run.seed).collect();
        seeds.sort_unstable();
        seeds.dedup();
        let of_seed = |seed: u64| {
            let all = rows.iter().flat_map(runs).filter(move |run| run.seed == seed);
            match self {
                Self::Row(_) => all.map(improvement).next(),
                Self::LowestCostOfEta | Self::LowestCostOfNu => {
                    let cost = |run: &Score| run.cost.unwrap_or(f64::INFINITY);
                    all.min_by(|a, b| cost(a).total_cmp(&cost(b))).map(improvement)
                }
                Self::BestRecognisedEta | Self::BestRecognisedNu => {
                    let explained = |run: &Score| run.explained.unwrap_or(f64::NEG_INFINITY);
                    all.max_by(|a, b| explained(a).total_cmp(&explained(b))).map(improvement)
                }
                Self::BestEta | Self::BestNu => all.map(improvement).max_by(f64::total_cmp),
            }
        };
        seeds.into_iter().filter_map(|seed| Some((seed, of_seed(seed)?))).collect()
    }

    /// The cell of a group and part.
    pub fn cell(self, scores: &[MixtureScores], group: usize, part: &SongPart) -> Option<Cell> {
        let runs: Vec<Vec<(u64, f64)>> = of_part(scores, group, part)
            .map(|scores| self.runs(scores))
            .filter(|runs| !runs.is_empty())
            .collect();
        if runs.is_empty() {
            return None;
        }
        let mean = |values: &mut dyn Iterator<Item = f64>| {
            let (sum, n) = values.fold((0.0, 0usize), |(sum, n), x| (sum + x, n + 1));
            sum / n as f64
        };
        let by_mixture: Vec<f64> = runs.iter().map(|runs| mean(&mut runs.iter().map(|run| run.1))).collect();
        let mut seeds: Vec<u64> = runs.iter().flatten().map(|run| run.0).collect();
        seeds.sort_unstable();
        seeds.dedup();
        // means over the same mixtures: those that have all seeds
        let whole: Vec<&Vec<(u64, f64)>> = runs.iter().filter(|runs| runs.len() == seeds.len()).collect();
        let of_seed = |seed: u64| {
            whole.iter().flat_map(|runs| runs.iter()).filter(move |run| run.0 == seed).map(|run| run.1)
        };
        let seeds = if whole.is_empty() { &[] } else { &seeds[..] };
        let by_seed: Vec<f64> = seeds.iter().map(|&seed| mean(&mut of_seed(seed))).collect();
        let summary = Summary::new(&by_mixture, SEED);
        Some(Cell {
            mean: summary.mean,
            interval: summary.mean_interval,
            spread: Summary::new(&by_seed, SEED).deviation,
            n: summary.n,
        })
    }
}

/// The rows of the tables: those that were run, and the choices among them.
pub fn picks(rows: &[Row]) -> Vec<Pick> {
    let mut picks: Vec<Pick> = rows.iter().copied().map(Pick::Row).collect();
    let several = |count: usize| count > 1;
    if several(rows.iter().filter(|row| matches!(row, Row::GPop(_))).count()) {
        picks.extend([Pick::LowestCostOfEta, Pick::BestRecognisedEta, Pick::BestEta]);
    }
    if several(rows.iter().filter(|row| matches!(row, Row::TPop(_))).count()) {
        picks.extend([Pick::LowestCostOfNu, Pick::BestRecognisedNu, Pick::BestNu]);
    }
    picks
}

/// The tables as text that people and programs read (Markdown).
pub fn markdown(rows: &[Row], scores: &[MixtureScores], parts: &[SongPart]) -> String {
    let mut text = String::new();
    for part in parts {
        let n = |group: usize| n_mixtures(rows, scores, group, part);
        let groups: Vec<usize> = (0..GROUPS.len()).filter(|&group| n(group) > 0).collect();
        if groups.is_empty() {
            continue;
        }
        let _ = writeln!(
            text,
            "### SDR improvement in dB, {}\n\nMean over sources, seeds and mixtures [95 % bootstrap interval over \
             mixtures] +- standard deviation of the seeds' means; in brackets the paper's figure, for its own songs, rooms and \
             networks: it is there to be compared in order, not in size.\n",
            part.name
        );
        let heads: Vec<String> =
            groups.iter().map(|&g| format!("{} ({} mixtures)", GROUPS[g].join("/"), n(g))).collect();
        let _ = writeln!(text, "| | {} |", heads.join(" | "));
        let _ = writeln!(text, "|---|{}", "---|".repeat(groups.len()));
        for pick in picks(rows) {
            let cells: Vec<String> = groups
                .iter()
                .map(|&group| {
                    let Some(cell) = pick.cell(scores, group, part) else { return "n/a".into() };
                    let paper = match pick {
                        Pick::Row(row) => row.paper(group),
                        _ => None,
                    };
                    let paper = paper.map_or_else(String::new, |sdr| format!(" ({sdr:.2})"));
                    format!("{}{paper}", cell.text(n(group), "+-"))
                })
                .collect();
            let _ = writeln!(text, "| {} | {} |", pick.title(), cells.join(" | "));
        }
        text.push('\n');
    }
    text
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('"', "\"\""))
}

/// Song, sources, condition.
fn first_columns(mixture: &MixtureScores) -> String {
    format!("{},{},{}", quoted(&mixture.song), mixture.sources.join("+"), mixture.condition)
}

/// The energies of Section V-E, sums over all slots and sources at level 1: one line for each moment of a run that was
/// looked at.
pub fn energies_csv(scores: &[MixtureScores]) -> String {
    let mut text = String::from(
        "song,sources,condition,method,seed,iteration,low_rank,weighted_low_rank,weighted_network\n",
    );
    for (mixture, row, run) in all_runs(scores) {
        for (iteration, [low_rank, weighted, network]) in run.iterations.iter().zip(&run.energies) {
            let (first, row, seed) = (first_columns(mixture), quoted(row), run.seed);
            let _ = writeln!(
                text,
                "{first},{row},{seed},{iteration},{low_rank:.6e},{weighted:.6e},{network:.6e}"
            );
        }
    }
    text
}

/// The band-wise signal-to-noise ratios in dB, means over sources: one line for each band at each moment.
pub fn bands_csv(scores: &[MixtureScores]) -> String {
    let mut text = String::from("song,sources,condition,method,seed,iteration,band,snr_db\n");
    for (mixture, row, run) in all_runs(scores) {
        for (iteration, bands) in run.iterations.iter().zip(&run.bands) {
            for (band, snr) in (1..).zip(bands) {
                let (first, row, seed) = (first_columns(mixture), quoted(row), run.seed);
                let _ = writeln!(text, "{first},{row},{seed},{iteration},{band},{snr:.4}");
            }
        }
    }
    text
}

fn all_runs(scores: &[MixtureScores]) -> impl Iterator<Item = (&MixtureScores, &str, &Score)> {
    scores.iter().flat_map(|mixture| {
        mixture
            .rows
            .iter()
            .flat_map(move |(row, runs)| runs.iter().map(move |run| (mixture, row.as_str(), run)))
    })
}

/// One line for each mixture, row, seed and source.
pub fn csv(scores: &[MixtureScores]) -> String {
    let mut text = String::from(
        "song,sources,condition,mismatch_db,method,seed,source,sdr_db,improvement_db,cost,seconds\n",
    );
    for (mixture, row, run) in all_runs(scores) {
        for (n, source) in mixture.sources.iter().enumerate() {
            let cost = run.cost.map_or_else(String::new, |cost| format!("{cost:.6}"));
            let _ = writeln!(
                text,
                "{},{:.3},{},{},{source},{:.4},{:.4},{cost},{:.3}",
                first_columns(mixture),
                mixture.mismatch,
                quoted(row),
                run.seed,
                run.sdr[n],
                run.improvement[n],
                run.seconds
            );
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn run(seed: u64, improvement: f64, cost: f64) -> Score {
        Score {
            seed,
            sdr: vec![improvement; 2],
            improvement: vec![improvement - 1.0, improvement + 1.0],
            cost: Some(cost),
            explained: Some(cost),
            seconds: 1.0,
            iterations: vec![],
            energies: vec![],
            bands: vec![],
        }
    }

    fn mixture(song: &str, shift: f64) -> MixtureScores {
        let mut rows = BTreeMap::new();
        rows.insert(Row::Idlma.key(), vec![run(0, 3.0 + shift, 0.0)]);
        rows.insert(Row::GPop(1e-2).key(), vec![run(0, 5.0 + shift, -2.0), run(1, 7.0 + shift, -1.0)]);
        rows.insert(Row::GPop(1e-10).key(), vec![run(0, 6.0 + shift, -1.0), run(1, 4.0 + shift, -3.0)]);
        MixtureScores {
            song: song.into(),
            sources: vec!["bass".into(), "drums".into()],
            condition: 1,
            unprocessed: vec![0.0; 2],
            mismatch: 1.0,
            rows,
        }
    }

    #[test]
    fn cells_are_means_over_mixtures_and_seeds_and_choices_take_one_run_of_a_seed() {
        let scores = [mixture("1 - near", 0.0), mixture("2 - far", 2.0)];
        let parts = SongParts::parse("near=near, far = far").unwrap().with_all(1);
        assert_eq!(parts.len(), 3);
        let cell = |pick: Pick, part: usize| pick.cell(&scores, 0, &parts[part]).unwrap();
        assert_eq!(cell(Pick::Row(Row::Idlma), 0).mean, 4.0);
        assert_eq!(cell(Pick::Row(Row::Idlma), 1).mean, 3.0);
        let both = cell(Pick::Row(Row::GPop(1e-2)), 0);
        assert_eq!((both.mean, both.n), (7.0, 2));
        assert!((both.spread - 2f64.sqrt()).abs() < 1e-12);
        // seed 0 takes 1e-2, seed 1 takes 1e-10
        assert_eq!(cell(Pick::LowestCostOfEta, 1).mean, 4.5);
        // recognised best where the cost is highest
        assert_eq!(cell(Pick::BestRecognisedEta, 1).mean, 6.5);
        assert_eq!(cell(Pick::BestEta, 1).mean, 6.5);
        assert!(Pick::Row(Row::Ilrma).cell(&scores, 0, &parts[0]).is_none());
        assert!(Pick::Row(Row::Idlma).cell(&scores, 1, &parts[0]).is_none());
        assert!(SongParts::parse("near").is_err());

        let far = MixtureScores { condition: 2, ..scores[1].clone() };
        let by_condition = SongParts::parse("near=near").unwrap().with_all(2);
        let titles: Vec<&str> = by_condition.iter().map(|part| &*part.name).collect();
        assert_eq!((titles[0], titles[1], titles.len()), ("all songs", "near", 6));
        assert_eq!(titles[4], "all songs, recording condition 2");
        let second = Pick::Row(Row::Idlma).cell(&[scores[0].clone(), far], 0, &by_condition[4]).unwrap();
        assert_eq!((second.mean, second.n), (5.0, 1));

        let rows = [Row::Idlma, Row::GPop(1e-2), Row::GPop(1e-10)];
        let text = markdown(&rows, &scores, &parts);
        assert!(text.contains("| idlma | 4.00 [3.0, 5.0] (6.41) |"), "{text}");
        assert!(text.contains("eta of the lowest cost"));
        assert_eq!(csv(&scores).lines().count(), 1 + 2 * 5 * 2);
    }

    #[test]
    fn a_cell_of_fewer_mixtures_than_its_column_says_so() {
        let mut scores = [mixture("1", 0.0), mixture("2", 2.0), mixture("3", 4.0)];
        // the first row lacks one, too: columns do not go by it
        scores[2].rows.remove(&Row::Idlma.key());
        let parts = SongParts::default().with_all(1);
        let rows = [Row::Idlma, Row::GPop(1e-2)];
        assert_eq!(n_mixtures(&rows, &scores, 0, &parts[0]), 3);
        assert_eq!(n_mixtures(&rows, &scores, 1, &parts[0]), 0);
        let text = markdown(&rows, &scores, &parts);
        assert!(text.contains("| bass/drums (3 mixtures) |"), "{text}");
        assert!(text.contains("| idlma | 4.00 [3.0, 5.0], 2 mixtures (6.41) |"), "{text}");
        assert!(text.contains("| g-pop-idlma, eta 1e-2 | 8.00 [6.0, 10.0] +-1.41 (8.53) |"), "{text}");
    }

    #[test]
    fn what_was_looked_at_on_the_way_has_a_line_for_each_moment() {
        let mut scores = [mixture("a \"b\"", 0.0)];
        if let Some(run) = scores[0].rows.get_mut(&Row::Idlma.key()).and_then(|runs| runs.first_mut()) {
            run.iterations = vec![0, 10];
            run.energies = vec![[1.0, 2.0, 3.0], [0.1, 0.2, 0.3]];
            run.bands = vec![vec![-1.0, 2.0], vec![3.0, 4.5]];
        }
        let energies = energies_csv(&scores);
        let lines: Vec<&str> = energies.lines().collect();
        assert_eq!(lines.len(), 3);
        let first = "\"a \"\"b\"\"\",bass+drums,1,\"idlma\",0";
        assert_eq!(lines[2], format!("{first},10,1.000000e-1,2.000000e-1,3.000000e-1"));
        let bands = bands_csv(&scores);
        let lines: Vec<&str> = bands.lines().collect();
        assert_eq!(lines.len(), 5);
        assert_eq!(lines[4], format!("{first},10,2,4.5000"));
    }
}
