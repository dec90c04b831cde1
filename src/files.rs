//! Files are written whole or not at all.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock, RwLockWriteGuard};

/// A file that could not be read, written or removed.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} {}: {source}", path.display())]
pub struct FileError {
    /// `read`, `write` or `remove`.
    pub action: &'static str,
    /// The file.
    pub path: PathBuf,
    /// The reason.
    pub source: io::Error,
}

/// Held by whoever writes a file, and by [`hold`] against all of them.
static WRITERS: RwLock<()> = RwLock::new(());

/// Waits until no file is being written, and lets none begin while the guard lives: before a process ends in the middle of its work.
pub fn hold() -> RwLockWriteGuard<'static, ()> {
    WRITERS.write().unwrap_or_else(PoisonError::into_inner)
}

/// Writes `bytes` to `path` whole or not at all, and creates its parent folders.
///
/// The bytes go to a temporary file in the same folder, reach the disk, and are renamed: a reader sees the old file
/// or the new one, and a failure leaves the old one. A symbolic link stays, its target is replaced; permissions stay, too.
///
/// # Errors
/// A folder, a device or a read-only file at `path`, or whatever the system refuses; both name the path.
pub fn write_atomic(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    let _writing = WRITERS.read().unwrap_or_else(PoisonError::into_inner);
    let refused = |source| FileError {
        action: "write",
        path: path.to_owned(),
        source,
    };
    let target = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    if target.exists() && !target.is_file() {
        return Err(refused(io::Error::other(
            "it exists and is not a regular file",
        )));
    }
    let before = std::fs::metadata(&target).ok().map(|m| m.permissions());
    if before.as_ref().is_some_and(|p| p.readonly()) {
        return Err(refused(io::Error::other("it is read-only")));
    }
    let folder = match target.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    std::fs::create_dir_all(folder).map_err(refused)?;
    let mut builder = tempfile::Builder::new();
    builder.prefix(".starling-");
    // Temporary files are private by default; a report is as readable as any other new file (the umask still applies).
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    if let Some(before) = before {
        builder.permissions(before);
    }
    let mut file = builder.tempfile_in(folder).map_err(refused)?;
    file.write_all(bytes).map_err(refused)?;
    file.as_file().sync_all().map_err(refused)?;
    file.persist(&target).map_err(|e| refused(e.error))?;
    Ok(())
}

/// Whether a file in `folder` could be written, asked before long work: the folder, or the nearest one above it that
/// exists, takes a temporary file. Nothing is left behind.
///
/// # Errors
/// Names `folder` and the reason.
pub fn check_writable(folder: &Path) -> Result<(), FileError> {
    let here = Path::new(".");
    let nearest = folder
        .ancestors()
        .map(|p| if p == Path::new("") { here } else { p })
        .find(|p| p.exists())
        .unwrap_or(here);
    tempfile::tempfile_in(nearest)
        .map(drop)
        .map_err(|source| FileError {
            action: "write",
            path: folder.into(),
            source,
        })
}

/// Reads a text file.
///
/// # Errors
/// Names the path and the reason.
pub fn read_text(path: &Path) -> Result<String, FileError> {
    std::fs::read_to_string(path).map_err(|source| FileError {
        action: "read",
        path: path.into(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn write_atomic_creates_folders_and_replaces() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b/table.md");
        write_atomic(&path, b"first, and longer").unwrap();
        write_atomic(&path, b"second").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"second");
        assert_eq!(names(path.parent().unwrap()), ["table.md"]);
    }

    #[test]
    fn write_atomic_leaves_nothing_on_failure() {
        let folder = tempfile::tempdir().unwrap();
        let taken = folder.path().join("taken");
        fs::create_dir(&taken).unwrap();
        let error = write_atomic(&taken, b"x").unwrap_err();
        assert!(error.to_string().contains("taken"), "{error}");

        let file = folder.path().join("file");
        fs::write(&file, b"kept").unwrap();
        let error = write_atomic(&file.join("below"), b"x").unwrap_err();
        assert!(error.to_string().contains("file/below"), "{error}");

        let error = check_writable(&file.join("below/it")).unwrap_err();
        assert!(error.to_string().contains("file/below/it"), "{error}");
        assert!(check_writable(&folder.path().join("new/folder")).is_ok());

        assert_eq!(fs::read(&file).unwrap(), b"kept");
        assert_eq!(names(folder.path()), ["file", "taken"]);
    }

    #[cfg(unix)]
    #[test]
    fn write_atomic_follows_links_and_spares_devices() {
        use std::os::unix::fs::{FileTypeExt, symlink};
        let folder = tempfile::tempdir().unwrap();
        let (target, link) = (folder.path().join("target"), folder.path().join("link"));
        fs::write(&target, b"old").unwrap();
        symlink(&target, &link).unwrap();
        write_atomic(&link, b"new").unwrap();
        assert!(link.is_symlink());
        assert_eq!(fs::read(&target).unwrap(), b"new");

        assert!(write_atomic(Path::new("/dev/null"), b"x").is_err());
        assert!(
            fs::metadata("/dev/null")
                .unwrap()
                .file_type()
                .is_char_device()
        );
    }
}
