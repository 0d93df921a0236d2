//! The embedded log as a whole, with small segments: what is damaged, what is cut, and anything in any order.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::recover::DIRECTORY;
use super::{Config, Embedded, OpenError};

mod damage;
mod model;
mod space;
mod starts;

/// Small enough for several segments in a test.
const SEGMENT: u64 = 900;

fn open(dir: &Path) -> Result<Embedded, OpenError> {
    Embedded::open(Config { dir: dir.to_owned(), sync_always: false, min_free_disk: 0, segment_bytes: SEGMENT })
}

/// A directory in memory, where there is one: tests copy logs thousands of times.
fn directory() -> TempDir {
    TempDir::new_in("/dev/shm").or_else(|_| TempDir::new()).unwrap()
}

/// The files below a directory, by their paths there.
fn files(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut directories = vec![dir.to_owned()];
    while let Some(next) = directories.pop() {
        for entry in std::fs::read_dir(next).unwrap() {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_dir() {
                directories.push(entry.path());
            } else if let Ok(content) = std::fs::read(entry.path()) {
                found.insert(entry.path().strip_prefix(dir).unwrap().to_owned(), content);
            }
        }
    }
    found
}

/// Puts such files into a new directory.
fn restored(files: &BTreeMap<PathBuf, Vec<u8>>) -> TempDir {
    let directory = directory();
    for (path, content) in files {
        let path = directory.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }
    directory
}

/// As a crash leaves it just now: a copy of what another has open.
fn crashed(dir: &Path) -> TempDir {
    restored(&files(dir))
}

/// Whether any file there holds these bytes.
fn holds(dir: &Path, bytes: &[u8]) -> Option<PathBuf> {
    let finder = memchr::memmem::Finder::new(bytes);
    files(dir).into_iter().find(|(_, content)| finder.find(content).is_some()).map(|(path, _)| path)
}

/// The files of segments and of their indexes, newest last.
fn segments(dir: &Path, family: char, extension: &str) -> Vec<PathBuf> {
    let names = std::fs::read_dir(dir.join(DIRECTORY)).unwrap().map(|entry| entry.unwrap().path());
    let mut names: Vec<_> = names
        .filter(|path| path.extension().is_some_and(|other| other == extension))
        .filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with(family))
        .collect();
    names.sort();
    names
}

/// Waits until all sealed segments have their index.
async fn indexed(log: &Embedded) {
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while !log.shared.heads.read().sealing.is_empty() {
        assert!(std::time::Instant::now() < deadline, "the indexes were not written");
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    }
}
