//! Where the songs of a corpus are.

use std::path::{Path, PathBuf};

use demix_files::{FileError, audio};

use super::{CorpusError, Part, Song, Stem};

/// Name of the file that holds all sources.
const MIXTURE: &str = "mixture";

/// The songs of a folder of either shape, by part and name.
pub(super) fn songs(folder: &Path) -> Result<Vec<Song>, CorpusError> {
    let dsd = [(Part::Dev, "Dev"), (Part::Test, "Test")];
    let musdb = [(Part::Dev, "train"), (Part::Test, "test")];
    entries(folder)?;
    let mut songs = Vec::new();
    let sources = folder.join("Sources");
    if dsd.iter().any(|(_, name)| sources.join(name).is_dir()) {
        for (part, name) in dsd {
            let mixtures = folder.join("Mixtures").join(name);
            add_songs(&mut songs, &sources.join(name), Some(&mixtures), part)?;
        }
    } else if musdb.iter().any(|(_, name)| folder.join(name).is_dir()) {
        for (part, name) in musdb {
            add_songs(&mut songs, &folder.join(name), None, part)?;
        }
    } else {
        refuse_stem_files(folder)?;
        return Err(CorpusError::NoShape { folder: folder.to_path_buf() });
    }
    if songs.is_empty() {
        return Err(CorpusError::NoSong { folder: folder.to_path_buf() });
    }
    Ok(songs)
}

/// The songs in `inside`, one folder each; their mixtures may stand elsewhere.
fn add_songs(
    songs: &mut Vec<Song>,
    inside: &Path,
    mixtures: Option<&Path>,
    part: Part,
) -> Result<(), CorpusError> {
    if !inside.is_dir() {
        return Ok(());
    }
    refuse_stem_files(inside)?;
    for folder in entries(inside)?.into_iter().filter(|path| path.is_dir()) {
        refuse_stem_files(&folder)?;
        let Some(name) = folder.file_name().map(|name| name.to_string_lossy().into_owned()) else { continue };
        let (mixed, stems): (Vec<Stem>, Vec<Stem>) =
            sounds(&folder)?.into_iter().partition(|stem| stem.name == MIXTURE);
        let mixture = match mixtures.map(|mixtures| mixtures.join(&name)) {
            Some(elsewhere) if elsewhere.is_dir() => {
                sounds(&elsewhere)?.into_iter().find(|sound| sound.name == MIXTURE)
            }
            _ => mixed.into_iter().next(),
        };
        if !stems.is_empty() {
            songs.push(Song { name, part, mixture: mixture.map(|mixture| mixture.path), stems });
        }
    }
    Ok(())
}

/// The sound files of a folder; of several formats of one name the first.
fn sounds(folder: &Path) -> Result<Vec<Stem>, CorpusError> {
    let mut stems: Vec<Stem> = entries(folder)?
        .into_iter()
        .filter(|path| audio::has_known_ending(path) && path.is_file())
        .filter_map(|path| Some(Stem { name: path.file_stem()?.to_str()?.to_owned(), path }))
        .collect();
    stems.sort_by(|a, b| a.name.cmp(&b.name));
    stems.dedup_by(|a, b| a.name == b.name);
    Ok(stems)
}

fn refuse_stem_files(folder: &Path) -> Result<(), CorpusError> {
    let undivided = |path: &PathBuf| path.to_string_lossy().to_lowercase().ends_with(".stem.mp4");
    match entries(folder)?.into_iter().find(undivided) {
        Some(path) => Err(CorpusError::StemFile { path }),
        None => Ok(()),
    }
}

/// What is in a folder, sorted, without hidden files.
fn entries(folder: &Path) -> Result<Vec<PathBuf>, CorpusError> {
    let refused = |error| FileError::from_io(folder, "read this folder", error);
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(refused)? {
        let entry = entry.map_err(refused)?;
        if !entry.file_name().to_string_lossy().starts_with('.') {
            paths.push(entry.path());
        }
    }
    paths.sort();
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::corpus::Corpus;

    fn touch(folder: &Path, files: &[&str]) {
        for file in files {
            let path = folder.join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "x").unwrap();
        }
    }

    fn names(song: &Song) -> Vec<&str> {
        song.stems.iter().map(|stem| stem.name.as_str()).collect()
    }

    #[test]
    fn both_shapes_are_found() {
        let folder = tempfile::tempdir().unwrap();
        touch(
            folder.path(),
            &[
                "Sources/Dev/B/bass.wav",
                "Sources/Dev/B/drums.flac",
                "Sources/Dev/B/notes.txt",
                "Sources/Dev/B/._bass.wav",
                "Sources/Dev/A/bass.wav",
                "Sources/Dev/empty/readme.md",
                "Sources/Test/C/vocals.wav",
                "Mixtures/Dev/B/mixture.wav",
            ],
        );
        let corpus = Corpus::open(folder.path()).unwrap();
        let found: Vec<(&str, Part)> = corpus.songs.iter().map(|song| (&*song.name, song.part)).collect();
        assert_eq!(found, [("A", Part::Dev), ("B", Part::Dev), ("C", Part::Test)]);
        assert_eq!(names(&corpus.songs[1]), ["bass", "drums"]);
        assert_eq!(corpus.songs[1].mixture, Some(folder.path().join("Mixtures/Dev/B/mixture.wav")));
        assert_eq!(corpus.songs[0].mixture, None);
        assert_eq!(corpus.sources(), ["bass", "drums", "vocals"]);
        assert!(corpus.check_source("drums").is_ok());
        let error = corpus.check_source("drum").unwrap_err();
        assert!(error.is_wrong_use() && error.to_string().contains("bass, drums, vocals"), "{error}");

        let folder = tempfile::tempdir().unwrap();
        touch(folder.path(), &["train/A/mixture.wav", "train/A/bass.wav", "test/B/bass.wav"]);
        let corpus = Corpus::open(folder.path()).unwrap();
        assert_eq!(names(&corpus.songs[0]), ["bass"]);
        assert_eq!(corpus.songs[0].mixture, Some(folder.path().join("train/A/mixture.wav")));
        assert_eq!(corpus.songs[1].part, Part::Test);
    }

    #[test]
    fn what_is_no_corpus_is_refused_in_one_line() {
        let refused = |files: &[&str]| {
            let folder = tempfile::tempdir().unwrap();
            touch(folder.path(), files);
            let error = Corpus::open(folder.path()).unwrap_err().to_string();
            assert_eq!(error.lines().count(), 1, "{error}");
            error
        };
        assert!(refused(&["song/bass.wav"]).contains("name the folder above"));
        assert!(refused(&["train/song/notes.txt"]).contains("no song in it has a stem"));
        for place in ["train/A - B.stem.mp4", "train/A/A - B.stem.mp4", "A - B.stem.mp4"] {
            let error = refused(&[place, "train/C/bass.wav"][..if place.starts_with('t') { 2 } else { 1 }]);
            assert!(error.contains("ffmpeg -i '") && error.contains("-map 0:4 vocals.wav"), "{error}");
        }
        assert!(matches!(
            Corpus::open(Path::new("/no/such/folder")),
            Err(CorpusError::File(FileError::Missing { .. }))
        ));
    }
}
