//! Control side: a file that takes its name when it is whole.

use std::ffi::OsString;
use std::fs::{self, File, TryLockError};
use std::io::{self, ErrorKind, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use crate::failure::Failure;

/// Text behind the target's name while the file is being written.
const PART_SUFFIX: &str = ".part";
/// Largest size of a leftover file that is overwritten, in bytes: it holds a header at most.
const MAX_EMPTY_BYTES: u64 = 128;
/// Number of attempts to lock a file that another process renames at the same time.
const LOCK_ATTEMPTS: u32 = 100;
/// Largest number of recovered files of one target.
const MAX_RECOVERED: u32 = 100_000;

/// File that is written beside its target and takes the target's name in [`commit`](Self::commit).
///
/// The target stays as it is until then, whatever happens to the process. The file is locked, so that a second process
/// with the same target is refused. Dropping the value without a commit removes the file, except after
/// [`keep_part`](Self::keep_part).
///
/// A target that exists and is no regular file, such as `/dev/null` or a named pipe, is written directly.
#[derive(Debug)]
pub struct OutputFile {
    /// Path as the user named it, for messages.
    named: PathBuf,
    /// Path of the target with its links resolved.
    target: PathBuf,
    /// Path that is written to; `None` for a target that is written directly and after the commit.
    part: Option<PathBuf>,
    file: File,
    recovered: Option<PathBuf>,
    is_kept: bool,
}

impl OutputFile {
    /// Creates the file beside `path`. If a killed process left one there, it is renamed first and
    /// [`recovered`](Self::recovered) returns its new path.
    ///
    /// # Errors
    /// Returns an error that names the file if it cannot be created, is read-only or is a folder, or if another process
    /// is writing to it.
    pub fn create(path: &Path) -> Result<Self, Failure> {
        let fail = |found: String| Failure::run(format!("{}: {found}", path.display()));
        let cannot = |error: io::Error| fail(format!("cannot be written: {error}"));
        let existing = match fs::metadata(path) {
            Ok(metadata) => Some(metadata),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => return Err(cannot(error)),
        };
        let named = path.to_owned();
        match &existing {
            Some(metadata) if metadata.is_dir() => {
                return Err(fail("is a directory: expected the path of a file".into()));
            }
            Some(metadata) if !metadata.is_file() => {
                let file = File::options().write(true).open(path).map_err(cannot)?;
                let target = named.clone();
                return Ok(Self { named, target, part: None, file, recovered: None, is_kept: false });
            }
            Some(metadata) if metadata.permissions().readonly() => {
                return Err(fail("cannot be written: it is read-only".into()));
            }
            _ => {}
        }
        let target = if existing.is_some() { fs::canonicalize(path).map_err(cannot)? } else { named.clone() };
        let part = with_suffix(&target, PART_SUFFIX);
        let mut recovered = None;
        for _ in 0..LOCK_ATTEMPTS {
            let file = open_part(&part).map_err(|found| fail(format!("cannot be written: {found}")))?;
            match file.try_lock() {
                Ok(()) => {}
                // A file system without locks protects the target as well, but does not refuse a second process.
                Err(TryLockError::Error(error)) if error.kind() == ErrorKind::Unsupported => {}
                Err(TryLockError::Error(error)) => return Err(cannot(error)),
                Err(TryLockError::WouldBlock) => {
                    return Err(fail(format!("another process is writing it: {} is locked", part.display())));
                }
            }
            // Between opening and locking, the process that held the lock may have given the file its name.
            if !is_still_at(&file, &part) {
                continue;
            }
            if file.metadata().map_err(cannot)?.len() > MAX_EMPTY_BYTES {
                recovered = Some(set_aside(&part, &target).map_err(cannot)?);
                continue;
            }
            file.set_len(0).map_err(cannot)?;
            if let Some(metadata) = existing {
                // A file system without permissions refuses this, and needs it no more than the old file did.
                _ = file.set_permissions(metadata.permissions());
            }
            return Ok(Self { named, target, part: Some(part), file, recovered, is_kept: false });
        }
        Err(fail(format!("{} changes all the time: other processes write it", part.display())))
    }

    /// Writes a whole file: the target either keeps its old content or has all of `content`.
    ///
    /// # Errors
    /// Returns an error that names the file if it cannot be written.
    pub fn write_whole(path: &Path, content: &[u8]) -> Result<(), Failure> {
        Self::create(path)?.write_and_commit(content)
    }

    /// Writes the content of this file, which is empty so far, and commits it.
    ///
    /// # Errors
    /// Returns an error that names the file if it cannot be written.
    pub fn write_and_commit(mut self, content: &[u8]) -> Result<(), Failure> {
        self.file.write_all(content).map_err(|error| self.cannot(&error))?;
        self.commit()
    }

    /// Returns the path that the user named.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.named
    }

    /// Returns the path that holds the content until the commit; `None` for a target that is written directly.
    #[must_use]
    pub fn part(&self) -> Option<&Path> {
        self.part.as_deref()
    }

    /// Returns the path of what a killed process left of an earlier file, if there was any.
    #[must_use]
    pub fn recovered(&self) -> Option<&Path> {
        self.recovered.as_deref()
    }

    /// Keeps what was written when the value is dropped without a commit.
    pub fn keep_part(&mut self) {
        self.is_kept = true;
    }

    /// Writes everything to the disk and gives the file the name of its target.
    ///
    /// # Errors
    /// Returns an error that names the file if it cannot be written or renamed.
    pub fn commit(mut self) -> Result<(), Failure> {
        self.file.flush().map_err(|error| self.cannot(&error))?;
        let Some(part) = &self.part else { return Ok(()) };
        // The content reaches the disk before the name, so that a power failure leaves the old file or the new one.
        self.file.sync_all().map_err(|error| self.cannot(&error))?;
        fs::rename(part, &self.target).map_err(|error| self.cannot(&error))?;
        self.part = None;
        Ok(())
    }

    /// Returns the failure for an error of writing this file.
    #[must_use]
    pub fn cannot(&self, error: &io::Error) -> Failure {
        let kept = match &self.part {
            Some(part) if self.is_kept => format!("; what was written is in {}", part.display()),
            _ => String::new(),
        };
        Failure::run(format!("{}: cannot be written: {error}{kept}", self.named.display()))
    }
}

impl Write for OutputFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Seek for OutputFile {
    fn seek(&mut self, position: SeekFrom) -> io::Result<u64> {
        self.file.seek(position)
    }
}

impl Drop for OutputFile {
    fn drop(&mut self) {
        if let Some(part) = &self.part
            && !self.is_kept
        {
            _ = fs::remove_file(part);
        }
    }
}

/// Returns whether both paths lead to the same existing file.
#[must_use]
pub fn is_same_file(a: &Path, b: &Path) -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        let identity = |path| fs::metadata(path).ok().map(|found| (found.dev(), found.ino()));
        identity(a).is_some_and(|found| identity(b) == Some(found))
    }
    #[cfg(not(unix))]
    {
        fs::canonicalize(a).is_ok_and(|found| fs::canonicalize(b).is_ok_and(|other| other == found))
    }
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    name.into()
}

/// Opens or creates the file, and does not change its content. The error is a text for the user.
fn open_part(part: &Path) -> Result<File, String> {
    let place = |error: io::Error| format!("{}: {error}", part.display());
    if fs::symlink_metadata(part).is_ok_and(|found| !found.is_file()) {
        return Err(format!("{} is no regular file", part.display()));
    }
    File::options().read(true).write(true).create(true).truncate(false).open(part).map_err(place)
}

/// Returns whether the open file still has this path.
fn is_still_at(file: &File, path: &Path) -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        let identity = |found: &fs::Metadata| (found.dev(), found.ino());
        matches!((file.metadata(), fs::metadata(path)), (Ok(a), Ok(b)) if identity(&a) == identity(&b))
    }
    #[cfg(not(unix))]
    {
        // A file that was renamed is not found any more.
        _ = file;
        path.exists()
    }
}

/// Renames the file that a killed process left to the first free numbered name beside the target.
fn set_aside(part: &Path, target: &Path) -> io::Result<PathBuf> {
    let stem = target.file_stem().unwrap_or_default();
    for number in 1..=MAX_RECOVERED {
        let mut name = OsString::from(stem);
        name.push(format!(".recovered-{number}"));
        if let Some(extension) = target.extension() {
            name.push(".");
            name.push(extension);
        }
        let path = target.with_file_name(name);
        if fs::symlink_metadata(&path).is_err() {
            fs::rename(part, &path)?;
            return Ok(path);
        }
    }
    Err(io::Error::other(format!("there are {MAX_RECOVERED} recovered files of it: expected fewer")))
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("handsfree-output-{name}-{}", std::process::id()));
            fs::create_dir_all(&path).unwrap();
            Self(path)
        }

        fn names(&self) -> Vec<String> {
            let entries = fs::read_dir(&self.0).unwrap();
            let mut names: Vec<String> =
                entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
            names.sort();
            names
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn the_target_changes_only_when_the_file_is_whole() {
        let folder = Folder::new("whole");
        let path = folder.0.join("keep.wav");
        fs::write(&path, "old").unwrap();
        let mut file = OutputFile::create(&path).unwrap();
        file.write_all(b"new").unwrap();
        assert_eq!((fs::read(&path).unwrap(), folder.names().len()), (b"old".to_vec(), 2));
        drop(file);
        assert_eq!((fs::read(&path).unwrap(), folder.names().len()), (b"old".to_vec(), 1));
        OutputFile::write_whole(&path, b"new").unwrap();
        assert_eq!((fs::read(&path).unwrap(), folder.names().len()), (b"new".to_vec(), 1));
    }

    #[test]
    fn a_second_writer_of_the_same_file_is_refused() {
        let folder = Folder::new("second");
        let path = folder.0.join("keep.wav");
        let first = OutputFile::create(&path).unwrap();
        let message = OutputFile::create(&path).unwrap_err().to_string();
        assert!(message.contains("keep.wav: another process is writing it"), "{message}");
        drop(first);
        OutputFile::write_whole(&path, b"whole").unwrap();
        assert_eq!(folder.names(), ["keep.wav"]);
    }

    #[test]
    fn what_a_killed_process_left_is_kept() {
        let folder = Folder::new("killed");
        let path = folder.0.join("keep.wav");
        for number in 1..=2 {
            fs::write(folder.0.join("keep.wav.part"), vec![number; 200]).unwrap();
            let file = OutputFile::create(&path).unwrap();
            let kept = folder.0.join(format!("keep.recovered-{number}.wav"));
            assert_eq!(file.recovered(), Some(kept.as_path()));
            assert_eq!(fs::read(kept).unwrap(), vec![number; 200]);
        }
        // A header without samples is not worth keeping.
        fs::write(folder.0.join("keep.wav.part"), [0; 80]).unwrap();
        let mut file = OutputFile::create(&path).unwrap();
        assert_eq!(file.recovered(), None);
        file.keep_part();
        drop(file);
        assert_eq!(folder.names(), ["keep.recovered-1.wav", "keep.recovered-2.wav", "keep.wav.part"]);
    }

    #[cfg(unix)]
    #[test]
    fn links_and_permissions_of_the_target_stay() {
        use std::os::unix::fs::PermissionsExt;
        let folder = Folder::new("links");
        let (path, link) = (folder.0.join("real.wav"), folder.0.join("link.wav"));
        fs::write(&path, "old").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        std::os::unix::fs::symlink(&path, &link).unwrap();
        OutputFile::write_whole(&link, b"new").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink() && is_same_file(&path, &link));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).unwrap();
        let message = OutputFile::create(&path).unwrap_err().to_string();
        assert!(message.contains("real.wav: cannot be written: it is read-only"), "{message}");
        let message = OutputFile::create(&folder.0).unwrap_err().to_string();
        assert!(message.contains("is a directory"), "{message}");
        OutputFile::write_whole(Path::new("/dev/null"), b"nowhere").unwrap();
        assert!(!fs::metadata("/dev/null").unwrap().is_file());
    }
}
