//! What a directory is good for: whether it can be made, written, and how much fits. Leaves nothing behind.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// The directory itself, or what there is of the path to it: where it would be made.
pub(crate) fn nearest(dir: &Path) -> io::Result<PathBuf> {
    // Its components, without a slash at the end, which would be a step of its own.
    let mut dir: PathBuf = std::path::absolute(dir)?.components().collect();
    loop {
        match dir.metadata() {
            Ok(found) if found.is_dir() => return Ok(dir),
            Ok(_) => return Err(io::Error::new(io::ErrorKind::NotADirectory, format!("{} is a file", dir.display()))),
            // What stands above it tells it better where that is a file.
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                if !dir.pop() {
                    return Err(error);
                }
            }
            Err(error) => return Err(error),
        }
    }
}

/// Makes a file there, and takes it away. Several may try at once, each with a file of its own.
pub(crate) fn try_to_write(dir: &Path) -> io::Result<()> {
    static TRIES: AtomicU32 = AtomicU32::new(0);
    let number = TRIES.fetch_add(1, Ordering::Relaxed);
    let probe = dir.join(format!(".writable-{}-{number}", std::process::id()));
    File::create(&probe)?;
    std::fs::remove_file(&probe)
}

/// Has the names in a directory reach the disk.
pub(crate) fn sync_directory(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// What is left on the disk for us, in bytes.
pub(crate) fn free_bytes(dir: &Path) -> io::Result<u64> {
    let stat = rustix::fs::statvfs(dir)?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_that_is_not_there_would_be_made_in_the_nearest_that_is() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(nearest(&directory.path().join("not/there/")).unwrap(), directory.path());
        assert_eq!(nearest(directory.path()).unwrap(), directory.path());
        try_to_write(directory.path()).unwrap();
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_path_through_a_file_is_told() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("file");
        std::fs::write(&file, b"").unwrap();
        for path in ["", "below", "below/it"] {
            let error = nearest(&file.join(path)).unwrap_err().to_string();
            assert!(error.contains("is a file"), "{error}");
        }
    }
}
