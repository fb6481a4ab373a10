//! [`Record`]: the learning curve, epoch by epoch.

use serde::{Deserialize, Serialize};

/// What one epoch gave.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EpochRecord {
    /// Counted from 1.
    pub epoch: usize,
    /// Name of the loss.
    pub loss: String,
    /// Mean training loss over the epoch.
    pub training_loss: f64,
    /// Mean loss of the validation mixtures, where the epoch was validated.
    pub validation_loss: Option<f64>,
    /// Mean improvement of SI-SDR in dB, where the epoch was validated by separation.
    pub improvement: Option<f64>,
    /// The improvement of each validation song, in dB.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub by_song: Vec<f64>,
    /// Seconds since the training began, validations and earlier runs included.
    pub seconds: f64,
}

impl EpochRecord {
    /// Whether the epoch was validated.
    pub fn is_judged(&self) -> bool {
        self.validation_loss.is_some() || self.improvement.is_some()
    }

    /// Whether the songs tell that this network separates better than `other`: its mean over songs is higher by more
    /// than one standard error of the differences.
    pub fn separates_better_than(&self, other: &Self) -> bool {
        let (Some(here), Some(there)) = (self.improvement, other.improvement) else {
            return self.improvement.is_some();
        };
        let n = self.by_song.len();
        if n < 2 || other.by_song.len() != n {
            return here > there;
        }
        let differences: Vec<f64> = self.by_song.iter().zip(&other.by_song).map(|(a, b)| a - b).collect();
        let mean = differences.iter().sum::<f64>() / n as f64;
        let variance = differences.iter().map(|d| (d - mean).powi(2)).sum::<f64>() / (n - 1) as f64;
        mean > (variance / n as f64).sqrt()
    }
}

/// All epochs so far.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Record {
    /// In order.
    pub epochs: Vec<EpochRecord>,
}

impl Record {
    /// The table, with a header line.
    pub fn to_csv(&self) -> String {
        let mut text =
            String::from("epoch,loss,training_loss,validation_loss,si_sdr_improvement_db,seconds\n");
        let number = |x: Option<f64>| x.map_or_else(String::new, |x| format!("{x}"));
        for row in &self.epochs {
            text += &format!(
                "{},{},{},{},{},{:.1}\n",
                row.epoch,
                row.loss,
                row.training_loss,
                number(row.validation_loss),
                number(row.improvement),
                row.seconds
            );
        }
        text
    }

    /// Whether the last epoch's network takes the place of that of epoch `kept`, both after epoch `from`.
    ///
    /// By the rule of one standard error: of the networks that the songs do not tell from the one that separates best,
    /// the one of the lowest loss; improvements of a few songs are noisy, and a young network is the best by chance.
    pub fn last_separates_best(&self, kept: usize, from: usize) -> bool {
        let rows = &self.epochs[from..];
        let Some(last) = rows.last() else { return false };
        let kept = &self.epochs[kept - 1];
        let value = |row: &EpochRecord| row.improvement.unwrap_or(f64::NEG_INFINITY);
        let top = rows.iter().max_by(|a, b| value(a).total_cmp(&value(b))).unwrap_or(last);
        match (top.separates_better_than(last), top.separates_better_than(kept)) {
            (true, _) => false,
            (false, true) => true,
            (false, false) => match (last.validation_loss, kept.validation_loss) {
                (Some(last), Some(kept)) => last < kept,
                _ => value(last) > value(kept),
            },
        }
    }

    /// The epochs that were validated, with their scores.
    pub fn improvements(&self) -> (Vec<f64>, Vec<f64>) {
        self.epochs.iter().filter_map(|row| Some((row.epoch as f64, row.improvement?))).unzip()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_leaves_out_what_was_not_measured() {
        let row = |epoch, improvement| EpochRecord {
            epoch,
            loss: "square-root".into(),
            training_loss: 0.25,
            validation_loss: improvement,
            improvement,
            by_song: Vec::new(),
            seconds: 1.25,
        };
        let record = Record { epochs: vec![row(1, None), row(2, Some(3.5))] };
        let csv = record.to_csv();
        assert_eq!(csv.lines().nth(1), Some("1,square-root,0.25,,,1.2"));
        assert_eq!(csv.lines().nth(2), Some("2,square-root,0.25,3.5,3.5,1.2"));
        assert_eq!(record.improvements(), (vec![2.0], vec![3.5]));
    }

    #[test]
    fn of_networks_that_songs_do_not_tell_apart_the_one_of_the_lowest_loss_is_kept() {
        let row = |epoch, loss, by_song: &[f64]| EpochRecord {
            epoch,
            loss: "square-root".into(),
            training_loss: loss,
            validation_loss: Some(loss),
            improvement: Some(by_song.iter().sum::<f64>() / by_song.len() as f64),
            by_song: by_song.to_vec(),
            seconds: 0.0,
        };
        let kept = |rows: &[EpochRecord]| {
            let mut kept = 1;
            for n in 2..=rows.len() {
                if (Record { epochs: rows[..n].to_vec() }).last_separates_best(kept, 0) {
                    kept = n;
                }
            }
            kept
        };
        let young = row(1, 0.9, &[2.0, 3.0, 1.0, 4.0]);
        // 0.05 dB below on average, now above, now below: noise; its loss is lower
        let grown = row(2, 0.5, &[1.0, 4.0, 0.0, 4.8]);
        // lower loss still, but below on every song
        let worse = row(3, 0.4, &[1.5, 2.5, 0.5, 3.4]);
        let same = row(3, 0.6, &[1.0, 4.0, 0.0, 4.8]);
        // above on every song: better, whatever its loss
        let better = row(4, 0.7, &[3.0, 5.0, 2.0, 5.8]);
        assert_eq!(kept(&[young.clone(), grown.clone()]), 2);
        assert_eq!(kept(&[young.clone(), grown.clone(), worse]), 2);
        assert_eq!(kept(&[young.clone(), grown.clone(), same.clone()]), 2);
        assert_eq!(kept(&[young.clone(), grown, same, better]), 4);
        // one song says nothing about noise: the higher
        assert_eq!(kept(&[row(1, 0.9, &[2.0]), row(2, 0.5, &[1.9])]), 1);
        assert_eq!(kept(&[row(1, 0.5, &[1.9]), row(2, 0.9, &[2.0])]), 2);
        assert_eq!(kept(&[young.clone(), row(2, 0.5, &[-60.0; 4])]), 1);
    }
}
