//! Songs for training and for validation: by song, so that no sound is in both.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

use super::{Corpus, CorpusError, Part, Song};
use crate::training::chance;

/// The part `Dev`, divided.
#[derive(Clone, Debug, PartialEq)]
pub struct Split<'a> {
    /// Songs to learn from.
    pub training: Vec<&'a Song>,
    /// Songs to choose by, which training never sees.
    pub validation: Vec<&'a Song>,
}

impl Corpus {
    /// Draws `validation` songs of the part `Dev`; the rest is for training. Both keep the order of the corpus.
    ///
    /// # Errors
    /// Fewer than one song would be left for training.
    pub fn split(&self, validation: usize, seed: u64) -> Result<Split<'_>, CorpusError> {
        let dev: Vec<&Song> = self.part(Part::Dev).collect();
        if dev.len() <= validation {
            return Err(CorpusError::TooFewSongs {
                folder: self.folder.clone(),
                found: dev.len(),
                needed: validation + 1,
                validation,
            });
        }
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let chosen = chance::distinct(&mut rng, dev.len(), validation);
        let (mut training, mut validation) = (Vec::new(), Vec::new());
        for (i, song) in dev.into_iter().enumerate() {
            if chosen.contains(&i) { &mut validation } else { &mut training }.push(song);
        }
        Ok(Split { training, validation })
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn corpus(n: usize) -> Corpus {
        let song = |i: usize| Song {
            name: format!("{i}"),
            part: if i.is_multiple_of(3) { Part::Test } else { Part::Dev },
            mixture: None,
            stems: vec![],
        };
        Corpus { folder: PathBuf::from("songs"), songs: (0..n).map(song).collect() }
    }

    #[test]
    fn songs_are_in_one_half_by_seed() {
        let corpus = corpus(30);
        let split = corpus.split(6, 1).unwrap();
        assert_eq!((split.training.len(), split.validation.len()), (14, 6));
        assert!(split.validation.iter().all(|song| !split.training.contains(song)));
        assert!(split.training.iter().chain(&split.validation).all(|song| song.part == Part::Dev));
        assert_eq!(split, corpus.split(6, 1).unwrap());
        assert_ne!(split, corpus.split(6, 2).unwrap());
    }

    #[test]
    fn too_few_songs_are_refused_with_both_numbers() {
        let corpus = corpus(6);
        assert_eq!(corpus.split(3, 0).unwrap().training.len(), 1);
        let error = corpus.split(6, 0).unwrap_err();
        assert!(error.is_wrong_use());
        let text = error.to_string();
        assert!(
            text.contains("4 songs") && text.contains("7 are needed") && text.contains("validation=3"),
            "{text}"
        );
    }
}
