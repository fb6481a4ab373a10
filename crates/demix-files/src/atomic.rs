//! Files that appear whole or not at all, and the checks that come before hours of work.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard};

use tempfile::NamedTempFile;

use crate::FileError;

/// Temporary files of this process that are neither committed nor removed yet.
static PENDING: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

/// A file under construction: its content goes to a temporary neighbour, and [`commit`] renames
/// that over the path. Dropped before, nothing but the old file (if any) is left.
///
/// [`commit`]: AtomicFile::commit
///
/// # Example
/// ```
/// use std::io::Write;
/// # let folder = tempfile::tempdir()?;
/// let path = folder.path().join("scores.txt");
/// let mut file = demix_files::atomic::AtomicFile::create(&path)?;
/// file.write_all(b"SDR 7.1 dB\n")?;
/// assert!(!path.exists());
/// file.commit()?;
/// assert!(path.exists());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct AtomicFile {
    temporary: Option<NamedTempFile>,
    target: PathBuf,
    // after `temporary`, so that a folder made for this file is empty when this is dropped
    _folders: NewFolders,
}

impl AtomicFile {
    /// Begins a file that will stand at `path`; missing folders above it are made.
    ///
    /// A link is followed: the file it points to is replaced, the link stays.
    ///
    /// # Errors
    /// [`FileError`] when `path` is a folder or a device, or its folder cannot be written.
    pub fn create(path: &Path) -> Result<Self, FileError> {
        let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
        if let Ok(there) = fs::metadata(&target) {
            if there.is_dir() {
                return Err(FileError::IsFolder { path: path.to_path_buf() });
            }
            if !there.is_file() {
                return Err(FileError::NotRegular { path: path.to_path_buf() });
            }
        }
        if target.file_name().is_none() {
            return Err(FileError::IsFolder { path: path.to_path_buf() });
        }
        let folder = folder_of(&target);
        let folders = make_folders(folder)?;
        let temporary =
            new_temporary(folder).map_err(|error| FileError::from_io(path, "write here", error))?;
        pending().insert(temporary.path().to_path_buf());
        Ok(Self { temporary: Some(temporary), target, _folders: folders })
    }

    /// Puts the file in place: flushed to the disk, then renamed over the path.
    ///
    /// # Errors
    /// [`FileError`] when the disk refuses; the old file is then unchanged.
    pub fn commit(mut self) -> Result<(), FileError> {
        let Some(temporary) = self.temporary.take() else { return Ok(()) };
        let name = temporary.path().to_path_buf();
        let committed = temporary
            .as_file()
            .sync_all()
            .and_then(|()| temporary.persist(&self.target).map_err(|refused| refused.error));
        pending().remove(&name);
        committed.map_err(|error| FileError::from_io(&self.target, "write it", error))?;
        // so that the rename survives a power cut; some file systems refuse, which costs only that
        let _ = File::open(folder_of(&self.target)).and_then(|folder| folder.sync_all());
        Ok(())
    }

    fn file(&mut self) -> io::Result<&mut File> {
        let gone = || io::Error::other("the file is already committed");
        self.temporary.as_mut().map(NamedTempFile::as_file_mut).ok_or_else(gone)
    }
}

impl Write for AtomicFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file()?.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file()?.flush()
    }
}

impl Seek for AtomicFile {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.file()?.seek(to)
    }
}

impl Drop for AtomicFile {
    fn drop(&mut self) {
        if let Some(temporary) = self.temporary.take() {
            pending().remove(temporary.path());
        }
    }
}

/// Removes the temporary files of every [`AtomicFile`] under construction in this process: for a
/// handler of Ctrl-C, after which nothing is dropped any more.
pub fn abandon_all() {
    for path in std::mem::take(&mut *pending()) {
        // already gone is as good
        let _ = fs::remove_file(path);
    }
}

fn pending() -> MutexGuard<'static, BTreeSet<PathBuf>> {
    // a set of paths is whole even if a thread panicked while it held the lock
    PENDING.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn new_temporary(folder: &Path) -> io::Result<NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(".demix-").suffix(".part");
    // readable to others as any new file is (less the umask), not private as temporary files are
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    builder.tempfile_in(folder)
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// Folders made for an output. Those that are still empty when this is dropped are removed again,
/// so that a run that fails early leaves nothing behind.
#[derive(Debug, Default)]
#[must_use = "dropped at once, it removes the folders it made"]
pub struct NewFolders {
    /// The folders made, outermost first.
    pub made: Vec<PathBuf>,
}

impl Drop for NewFolders {
    fn drop(&mut self) {
        for folder in self.made.iter().rev() {
            // refused where a file is in it, as it should be
            let _ = fs::remove_dir(folder);
        }
    }
}

/// Makes the folder `dir` where it is missing and tries that a file can be written in it.
///
/// Keep the result until the outputs are written: see [`NewFolders`].
///
/// # Errors
/// [`FileError`] naming `dir` when it is a file, cannot be made, or cannot be written.
pub fn check_output_folder(dir: &Path) -> Result<NewFolders, FileError> {
    let folders = make_folders(dir)?;
    let refused = |error| FileError::from_io(dir, "write in this folder", error);
    let mut trial = new_temporary(dir).map_err(refused)?;
    trial.write_all(b"trial").and_then(|()| trial.close()).map_err(refused)?;
    Ok(folders)
}

fn make_folders(dir: &Path) -> Result<NewFolders, FileError> {
    let mut folders = NewFolders::default();
    let missing: Vec<&Path> = dir
        .ancestors()
        .take_while(|folder| !folder.as_os_str().is_empty() && fs::symlink_metadata(folder).is_err())
        .collect();
    for folder in missing.into_iter().rev() {
        match fs::create_dir(folder) {
            Ok(()) => folders.made.push(folder.to_path_buf()),
            // another process, or `a/../b` whose `a` was just made
            Err(_) if folder.is_dir() => {}
            Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
                return Err(in_the_way(dir, folder));
            }
            // what is above is there, so the system keeps this place to itself
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(FileError::NoPermission { path: dir.to_path_buf(), doing: "make this folder" });
            }
            Err(error) => return Err(FileError::from_io(dir, "make this folder", error)),
        }
    }
    if !dir.as_os_str().is_empty() && !dir.is_dir() {
        return Err(in_the_way(dir, dir));
    }
    Ok(folders)
}

/// A file stands where `folder`, one of the folders above or of `dir`, would have to be.
fn in_the_way(dir: &Path, folder: &Path) -> FileError {
    let file = folder.ancestors().find(|path| path.exists()).unwrap_or(folder);
    let reason = io::Error::other(format!("the file {} is in the way", file.display()));
    FileError::Io { path: dir.to_path_buf(), doing: "make this folder", reason }
}

/// Whether two paths lead to the same file: an output must not be an input.
///
/// Links, `..` and hard links are seen through; a path where nothing is yet is the same as another
/// when folder and name agree.
pub fn same_file(a: &Path, b: &Path) -> bool {
    #[cfg(unix)]
    if let (Ok(a), Ok(b)) = (fs::metadata(a), fs::metadata(b)) {
        use std::os::unix::fs::MetadataExt;
        return (a.dev(), a.ino()) == (b.dev(), b.ino());
    }
    match (settled(a), settled(b)) {
        (Some(a), Some(b)) => a == b,
        _ => false,
    }
}

fn settled(path: &Path) -> Option<PathBuf> {
    fs::canonicalize(path).ok().or_else(|| {
        let folder = fs::canonicalize(folder_of(path)).ok()?;
        Some(folder.join(path.file_name()?))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[test]
    fn dropped_before_commit_the_old_file_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.txt");
        fs::write(&path, "old").unwrap();
        let mut file = AtomicFile::create(&path).unwrap();
        file.write_all(b"new").unwrap();
        drop(file);
        assert_eq!(fs::read_to_string(&path).unwrap(), "old");
        assert_eq!(names(folder.path()), ["a.txt"]);
        let mut file = AtomicFile::create(&path).unwrap();
        file.write_all(b"new").unwrap();
        file.commit().unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "new");
        assert_eq!(names(folder.path()), ["a.txt"]);
    }

    #[test]
    fn folders_of_an_abandoned_file_go_with_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x/y/z.txt");
        drop(AtomicFile::create(&path).unwrap());
        assert!(names(folder.path()).is_empty());
        AtomicFile::create(&path).unwrap().commit().unwrap();
        assert!(path.is_file());
    }

    #[test]
    fn an_interrupt_leaves_no_temporary_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = AtomicFile::create(&folder.path().join("a.txt")).unwrap();
        assert_eq!(names(folder.path()).len(), 1);
        // only this file: other tests run beside this one
        let path = file.temporary.as_ref().unwrap().path().to_path_buf();
        assert!(pending().contains(&path));
        drop(file);
        assert!(!pending().contains(&path));
        assert!(names(folder.path()).is_empty());
    }

    #[test]
    fn an_output_folder_is_made_and_left_clean() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("a/b");
        let made = check_output_folder(&out).unwrap();
        assert!(out.is_dir() && names(&out).is_empty());
        drop(made);
        assert!(names(folder.path()).is_empty());
        let made = check_output_folder(&out).unwrap();
        fs::write(out.join("kept"), "").unwrap();
        drop(made);
        assert!(out.join("kept").is_file());
    }

    #[test]
    fn a_file_in_the_way_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        for dir in [file.clone(), file.join("below")] {
            let error = check_output_folder(&dir).unwrap_err().to_string();
            assert!(
                error.starts_with(dir.to_str().unwrap()) && error.contains("make this folder"),
                "{error}"
            );
        }
        assert!(matches!(AtomicFile::create(folder.path()), Err(FileError::IsFolder { .. })));
    }

    #[cfg(unix)]
    #[test]
    fn a_link_is_followed_and_stays() {
        let folder = tempfile::tempdir().unwrap();
        let (file, link) = (folder.path().join("file"), folder.path().join("link"));
        fs::write(&file, "old").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        let mut new = AtomicFile::create(&link).unwrap();
        new.write_all(b"new").unwrap();
        new.commit().unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), "new");
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    }

    #[test]
    fn the_same_file_by_another_name() {
        let folder = tempfile::tempdir().unwrap();
        let (a, b) = (folder.path().join("a"), folder.path().join("b"));
        fs::write(&a, "").unwrap();
        fs::write(&b, "").unwrap();
        assert!(same_file(&a, &folder.path().join("./a")));
        assert!(!same_file(&a, &b));
        let (new, other) = (folder.path().join("new"), folder.path().join("other"));
        assert!(same_file(&new, &folder.path().join("./new")));
        assert!(!same_file(&new, &other));
        assert!(!same_file(&a, &new));
        #[cfg(unix)]
        {
            fs::hard_link(&a, &new).unwrap();
            assert!(same_file(&a, &new));
            std::os::unix::fs::symlink(&a, &other).unwrap();
            assert!(same_file(&a, &other));
        }
    }
}
