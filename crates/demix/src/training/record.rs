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
    /// Seconds since the training began, validations and earlier runs included.
    pub seconds: f64,
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
            seconds: 1.25,
        };
        let record = Record { epochs: vec![row(1, None), row(2, Some(3.5))] };
        let csv = record.to_csv();
        assert_eq!(csv.lines().nth(1), Some("1,square-root,0.25,,,1.2"));
        assert_eq!(csv.lines().nth(2), Some("2,square-root,0.25,3.5,3.5,1.2"));
        assert_eq!(record.improvements(), (vec![2.0], vec![3.5]));
    }
}
