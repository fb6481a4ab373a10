//! What is left to do, and about how long that takes on this machine.

use std::time::Instant;

use demix_signal::{Watch, Waveform};
use ndarray::Array2;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng as _;

use super::rows::{GROUPS, Row};
use super::run::Laboratory;
use super::scene::Scene;
use crate::pipeline::PipelineError;
use crate::training::chance;

/// A run that is left.
pub struct Run {
    /// Its method.
    pub row: Row,
    /// Sources and microphones of its mixture.
    pub n_sources: usize,
    /// Length of its mixture.
    pub seconds: f64,
}

/// At most so many seconds of noise are separated to learn how fast this machine is.
const TRIAL_SECONDS: f64 = 30.0;

/// About how many seconds all these runs take: one method is timed here, how much longer the others take was recorded.
///
/// # Errors
/// Cancelling.
pub fn separation_seconds(
    laboratory: &Laboratory,
    runs: &[Run],
    watch: &mut dyn Watch,
) -> Result<f64, PipelineError> {
    if runs.is_empty() {
        return Ok(0.0);
    }
    // as long as the mixtures are: matrices of all bins are updated however few frames there are
    let longest = runs.iter().map(|run| run.seconds).fold(0.0, f64::max).min(TRIAL_SECONDS);
    let scene = noise(laboratory.sample_rate, longest)?;
    let mut timed = || {
        let clock = Instant::now();
        let separation = laboratory.run(&scene, GROUPS[0], Row::Ilrma, 0, watch)?.seconds;
        Ok::<_, PipelineError>((separation, clock.elapsed().as_secs_f64() - separation))
    };
    // the first one makes threads and finds memory
    let (first, second) = (timed()?, timed()?);
    let (separation, judging) = (first.0.min(second.0), first.1.min(second.1));
    let of_run = |run: &Run| {
        // three sources take about half as long again as two
        let size = run.seconds / longest * run.n_sources as f64 / 2.0;
        size * (run.row.effort() * separation + judging)
    };
    Ok(runs.iter().map(of_run).sum())
}

/// Two noises at two microphones, at least a sample of them.
fn noise(sample_rate: u32, seconds: f64) -> Result<Scene, PipelineError> {
    let mut random = ChaCha8Rng::seed_from_u64(0);
    let n = (seconds * f64::from(sample_rate)).ceil() as usize;
    let mut image = |gains: [f32; 2]| {
        let sound: Vec<f32> = (0..n).map(|_| chance::between(&mut random, -0.1, 0.1) as f32).collect();
        Waveform::new(Array2::from_shape_fn((2, n), |(m, t)| gains[m] * sound[t]), sample_rate)
    };
    Ok(Scene::new(&[image([1.0, 0.5]), image([0.5, 1.0])])?)
}

/// A time in words.
pub fn in_words(seconds: f64) -> String {
    let minutes = (seconds / 60.0).ceil() as u64;
    match minutes {
        0 | 1 => "a minute".into(),
        2..60 => format!("{minutes} minutes"),
        _ => format!("{:.1} hours", seconds / 3600.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_told_in_minutes_below_an_hour() {
        for (seconds, words) in [
            (0.0, "a minute"),
            (59.0, "a minute"),
            (61.0, "2 minutes"),
            (3539.0, "59 minutes"),
            (3541.0, "1.0 hours"),
            (9000.0, "2.5 hours"),
        ] {
            assert_eq!(in_words(seconds), words, "{seconds} s");
        }
    }
}
