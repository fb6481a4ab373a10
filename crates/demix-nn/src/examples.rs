//! [`Examples`]: where training takes its [`Excerpt`]s from; `Batch`: what a step sees of them.

use ndarray::Array2;
use rayon::prelude::*;

use crate::NnError;
use crate::features::Features;

/// A piece of a mixture and what the network shall find in it; magnitudes |X|, (bins, frames), of one shape.
///
/// Neighbours of a frame are taken from the excerpt and are silent beyond its ends: a margin as wide as the network's
/// context lets it see in training what it will see in use.
#[derive(Clone, Debug, PartialEq)]
pub struct Excerpt {
    /// Magnitudes of the mixture.
    pub mixture: Array2<f32>,
    /// Magnitudes of the source.
    pub source: Array2<f32>,
    /// So many frames at each end are neighbours alone.
    pub margin: usize,
}

/// A supply of excerpts without end.
pub trait Examples: Sync {
    /// The excerpt of this number: the same number gives the same excerpt. Asked for from several threads.
    ///
    /// # Errors
    /// A sentence, which ends the training.
    fn excerpt(&self, index: u64) -> Result<Excerpt, String>;
}

impl<F: Fn(u64) -> Result<Excerpt, String> + Sync> Examples for F {
    fn excerpt(&self, index: u64) -> Result<Excerpt, String> {
        self(index)
    }
}

/// Frames of a step, in the normalised domain, row after row.
#[derive(Clone, Debug, Default)]
pub(crate) struct Batch {
    pub n_rows: usize,
    /// (rows, inputs); the last input, nu_NMF, is written when the step is known.
    pub inputs: Vec<f32>,
    /// Magnitudes of the mixture, (rows, bins).
    pub mixture: Vec<f32>,
    /// Magnitudes of the source, (rows, bins).
    pub source: Vec<f32>,
    /// nu_NMF of each row, where it is an input.
    pub nu_nmf: Vec<f64>,
}

impl Batch {
    /// All frames of an excerpt but its margins and those whose neighbourhood is silent: they have no level and teach
    /// nothing.
    ///
    /// # Errors
    /// Shapes that differ from each other or from the network's bins, values that are no magnitudes.
    pub fn of_excerpt(features: &Features, excerpt: &Excerpt) -> Result<Self, NnError> {
        let frames = features.frames(excerpt.mixture.view(), "the mixture of an example")?;
        let source = features.turned(excerpt.source.view(), "the source of an example")?;
        if source.dim() != frames.magnitudes.dim() {
            return Err(NnError::Header(format!(
                "an example has {} frames of the mixture and {} of the source: both need the same",
                frames.n_frames(),
                source.nrows()
            )));
        }
        let mut batch = Self::default();
        let mut row = vec![0.0; features.n_inputs()];
        for frame in excerpt.margin..frames.n_frames().saturating_sub(excerpt.margin) {
            let level = features.row(&frames, frame, 1.0, &mut row);
            if level <= 0.0 {
                continue;
            }
            let over_level = |&x: &f32| (f64::from(x) / level) as f32;
            batch.n_rows += 1;
            batch.inputs.extend_from_slice(&row);
            batch.mixture.extend(frames.magnitudes.row(frame).iter().map(over_level));
            batch.source.extend(source.row(frame).iter().map(over_level));
        }
        Ok(batch)
    }

    pub fn append(&mut self, mut other: Self) {
        self.n_rows += other.n_rows;
        self.inputs.append(&mut other.inputs);
        self.mixture.append(&mut other.mixture);
        self.source.append(&mut other.source);
    }

    /// The first `n_rows` rows; the others stay.
    fn split(&mut self, n_rows: usize) -> Self {
        let inputs_per_row = self.inputs.len() / self.n_rows;
        let bins = self.mixture.len() / self.n_rows;
        let first = |values: &mut Vec<f32>, per_row: usize| {
            let rest = values.split_off(n_rows * per_row);
            std::mem::replace(values, rest)
        };
        let batch = Self {
            n_rows,
            inputs: first(&mut self.inputs, inputs_per_row),
            mixture: first(&mut self.mixture, bins),
            source: first(&mut self.source, bins),
            nu_nmf: Vec::new(),
        };
        self.n_rows -= n_rows;
        batch
    }

    /// Writes nu_NMF of every row, (rows), where it is an input of the network.
    pub fn condition(&mut self, features: &Features, nu_nmf: Vec<f64>) {
        let inputs = features.n_inputs();
        for (row, &nu) in self.inputs.chunks_exact_mut(inputs).zip(&nu_nmf) {
            features.condition_row(nu, row);
        }
        self.nu_nmf = nu_nmf;
    }
}

/// Excerpts in the order of their numbers, cut into batches.
pub(crate) struct Supply<'a> {
    examples: &'a dyn Examples,
    features: &'a Features,
    next: u64,
    /// Rows that the last batch left.
    rest: Batch,
    /// Rows of the last excerpt that sounded: how many excerpts a batch will take.
    rows_of_excerpt: usize,
}

/// So many silent excerpts in a row are no accident.
const SILENT_EXCERPTS: u64 = 1000;
/// Excerpts that are made side by side at the most: bounds the memory for any number of threads.
const EXCERPTS_AT_ONCE: usize = 32;

impl<'a> Supply<'a> {
    pub fn new(examples: &'a dyn Examples, features: &'a Features, first: u64) -> Self {
        Self { examples, features, next: first, rest: Batch::default(), rows_of_excerpt: usize::MAX }
    }

    /// The next `n_rows` rows.
    pub fn batch(&mut self, n_rows: usize) -> Result<Batch, NnError> {
        let mut silent = 0;
        while self.rest.n_rows < n_rows {
            let missing = n_rows - self.rest.n_rows;
            let wanted = missing.div_ceil(self.rows_of_excerpt).min(EXCERPTS_AT_ONCE) as u64;
            let parts = (self.next..self.next.saturating_add(wanted))
                .into_par_iter()
                .map(|index| {
                    let problem = |problem| NnError::Example { index, problem };
                    let excerpt = self.examples.excerpt(index).map_err(problem)?;
                    Batch::of_excerpt(self.features, &excerpt).map_err(|error| problem(error.to_string()))
                })
                .collect::<Result<Vec<_>, _>>()?;
            if parts.is_empty() {
                return Err(NnError::Example {
                    index: self.next,
                    problem: "there are no more numbers".into(),
                });
            }
            self.next += wanted;
            for part in parts {
                match part.n_rows {
                    0 => silent += 1,
                    rows => (silent, self.rows_of_excerpt) = (0, rows),
                }
                self.rest.append(part);
            }
            if silent >= SILENT_EXCERPTS {
                return Err(NnError::Silent(silent));
            }
        }
        Ok(self.rest.split(n_rows))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Loss;
    use crate::testing::header;

    #[test]
    fn margins_are_neighbours_and_nothing_else() {
        let features = Features::new(&header(Loss::SquareRoot));
        let mixture = Array2::from_shape_fn((17, 12), |(i, j)| ((i * 7 + j * 3) % 11) as f32 + 0.5);
        let excerpt = |margin| Excerpt { source: &mixture * 0.4, mixture: mixture.clone(), margin };
        let all = Batch::of_excerpt(&features, &excerpt(0)).unwrap();
        let inner = Batch::of_excerpt(&features, &excerpt(3)).unwrap();
        assert_eq!((all.n_rows, inner.n_rows), (12, 6));
        let n = features.n_inputs();
        assert_eq!(inner.inputs, all.inputs[3 * n..9 * n]);
        assert_eq!(inner.source, all.source[3 * 17..9 * 17]);
        assert_eq!(Batch::of_excerpt(&features, &excerpt(6)).unwrap().n_rows, 0);
        assert_eq!(Batch::of_excerpt(&features, &excerpt(100)).unwrap().n_rows, 0);
    }
}
