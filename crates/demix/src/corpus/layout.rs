//! Where the songs of a corpus are.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use demix_files::{FileError, audio};

use super::{CorpusError, Part, Song, Stem};

/// The folders of songs in DSD100 (in `Mixtures` and in `Sources`), and those in MUSDB18.
const DSD100: [(Part, &str); 2] = [(Part::Dev, "Dev"), (Part::Test, "Test")];
const MUSDB18: [(Part, &str); 2] = [(Part::Dev, "train"), (Part::Test, "test")];
/// Name of the file that holds all sources.
const MIXTURE: &str = "mixture";
/// How files end that hold all stems of a song.
const STEM_FILE: &str = ".stem.mp4";

/// The songs of a folder of either shape, by part and name.
pub(super) fn songs(folder: &Path) -> Result<Vec<Song>, CorpusError> {
    entries(folder)?;
    let mut songs = Vec::new();
    let sources = folder.join("Sources");
    if DSD100.iter().any(|(_, name)| sources.join(name).is_dir()) {
        for (part, name) in DSD100 {
            let mixtures = folder.join("Mixtures").join(name);
            add_songs(&mut songs, folder, &sources.join(name), Some(&mixtures), part)?;
        }
    } else if MUSDB18.iter().any(|(_, name)| folder.join(name).is_dir()) {
        for (part, name) in MUSDB18 {
            add_songs(&mut songs, folder, &folder.join(name), None, part)?;
        }
    } else {
        refuse_stem_files(folder, folder)?;
        return Err(CorpusError::NoShape { folder: folder.to_path_buf() });
    }
    if songs.is_empty() {
        return Err(CorpusError::NoSong { folder: folder.to_path_buf() });
    }
    Ok(songs)
}

/// The songs in `inside`, a folder of `corpus`, one folder each; their mixtures may stand elsewhere.
fn add_songs(
    songs: &mut Vec<Song>,
    corpus: &Path,
    inside: &Path,
    mixtures: Option<&Path>,
    part: Part,
) -> Result<(), CorpusError> {
    if !inside.is_dir() {
        return Ok(());
    }
    refuse_stem_files(corpus, inside)?;
    for folder in entries(inside)?.into_iter().filter(|path| path.is_dir()) {
        let Some(name) = folder.file_name().map(|name| name.to_string_lossy().into_owned()) else { continue };
        let (mixed, stems): (Vec<Stem>, Vec<Stem>) =
            sounds(&folder)?.into_iter().partition(|stem| stem.name == MIXTURE);
        if stems.is_empty() {
            refuse_stem_files(corpus, &folder)?;
        }
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

/// The sound files of a folder, each of one source; of several formats of one name the first.
fn sounds(folder: &Path) -> Result<Vec<Stem>, CorpusError> {
    let mut stems: Vec<Stem> = entries(folder)?
        .into_iter()
        .filter(|path| audio::has_known_ending(path) && !path.to_string_lossy().ends_with(STEM_FILE))
        .filter(|path| path.is_file())
        .filter_map(|path| Some(Stem { name: path.file_stem()?.to_str()?.to_owned(), path }))
        .collect();
    stems.sort_by(|a, b| a.name.cmp(&b.name));
    stems.dedup_by(|a, b| a.name == b.name);
    Ok(stems)
}

/// Refuses files that hold all stems of a song, but those whose stems lie in a folder of their name.
fn refuse_stem_files(corpus: &Path, folder: &Path) -> Result<(), CorpusError> {
    for path in entries(folder)? {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let Some(song) = name.strip_suffix(STEM_FILE) else { continue };
        let divided = folder.join(song);
        if !divided.is_dir() || sounds(&divided)?.is_empty() {
            return Err(CorpusError::StemFile { folder: corpus.to_path_buf(), path });
        }
    }
    Ok(())
}

/// A command for a shell that divides all files of the corpus `folder` that lie as `path` does.
pub(super) fn conversion(folder: &Path, path: &Path) -> String {
    let above = path.strip_prefix(folder).ok().and_then(Path::parent).unwrap_or(Path::new(""));
    let files = "*/".repeat(above.components().count()) + "*" + STEM_FILE;
    let is_part = |name: &OsStr| DSD100.iter().chain(&MUSDB18).any(|(_, part)| name == *part);
    let song = match above.file_name() {
        None => format!("{}/${{f%{STEM_FILE}}}", MUSDB18[0].1),
        Some(name) if is_part(name) => format!("${{f%{STEM_FILE}}}"),
        // of a song already
        Some(_) => "${f%/*}".into(),
    };
    let outputs: String = (0..)
        .zip([MIXTURE, "drums", "bass", "other", "vocals"])
        .map(|(stream, name)| format!(" -map 0:{stream} \"$d/{name}.wav\""))
        .collect();
    let absolute = std::path::absolute(folder).unwrap_or_else(|_| folder.to_path_buf());
    // as one word, whatever is in the name
    let corpus = absolute.display().to_string().replace('\'', r"'\''");
    format!(
        "cd '{corpus}' && for f in {files}; do d=\"{song}\"; mkdir -p \"$d\" && ffmpeg -nostdin -i \"$f\"{outputs}; done"
    )
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
            assert!(error.contains("ffmpeg -nostdin -i ") && error.contains("/vocals.wav"), "{error}");
        }
        assert!(matches!(
            Corpus::open(Path::new("/no/such/folder")),
            Err(CorpusError::File(FileError::Missing { .. }))
        ));
    }
    /// The command is given to a shell in which ffmpeg makes its outputs, whatever the folders and songs are called.
    #[cfg(unix)]
    #[test]
    fn the_command_for_undivided_songs_makes_a_corpus_of_them() {
        use std::os::unix::fs::PermissionsExt as _;

        let tools = tempfile::tempdir().unwrap();
        let ffmpeg = tools.path().join("ffmpeg");
        // ffmpeg -nostdin -i SONG (-map 0:N FILE)...
        let script = "#!/bin/sh\ntest -f \"$3\" || exit 1\nfor word; do case \"$word\" in *.wav) echo x >\"$word\";; esac; done\n";
        fs::write(&ffmpeg, script).unwrap();
        fs::set_permissions(&ffmpeg, fs::Permissions::from_mode(0o755)).unwrap();
        let path = std::env::join_paths([tools.path(), Path::new("/usr/bin"), Path::new("/bin")]).unwrap();
        let songs = ["Don't \"Stop\" $HOME `x` - Band", "B"];
        for place in ["{song}.stem.mp4", "train/{song}.stem.mp4", "train/{song}/x.stem.mp4"] {
            let folder = tempfile::tempdir().unwrap();
            let corpus = folder.path().join("it's a corpus");
            let files = songs.map(|song| place.replace("{song}", song));
            touch(&corpus, &files.each_ref().map(String::as_str));
            if place.starts_with("train/{song}.") {
                touch(&corpus, &["test/C.stem.mp4"]);
            }
            let error = Corpus::open(&corpus).unwrap_err().to_string();
            let command = &error[error.find("cd '").unwrap()..];
            let run =
                std::process::Command::new("sh").args(["-c", command]).env("PATH", &path).status().unwrap();
            assert!(run.success(), "{command}");
            let made = Corpus::open(&corpus).unwrap();
            let found: Vec<&str> = made.part(Part::Dev).map(|song| &*song.name).collect();
            assert_eq!(found, [songs[1], songs[0]], "{command}");
            assert!(made.songs.iter().all(|song| names(song) == ["bass", "drums", "other", "vocals"]));
            assert!(made.songs.iter().all(|song| song.mixture.is_some()));
            assert_eq!(made.part(Part::Test).count(), usize::from(place.starts_with("train/{song}.")));
        }
    }
}
