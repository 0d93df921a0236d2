//! What a process and its files take at one moment, read from `/proc` and from the directory.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

/// A process at one moment.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Process {
    /// Bytes that are resident.
    pub(crate) memory: u64,
    /// Open files, sockets not counted.
    pub(crate) files: u64,
    pub(crate) sockets: u64,
    pub(crate) threads: u64,
    /// User and system time.
    pub(crate) cpu: Duration,
}

/// Bytes of the blocks that a directory's files have.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Disk {
    /// The log: everything that is not the store.
    pub(crate) log: u64,
    /// The store's database.
    pub(crate) store: u64,
    /// … its write-ahead log.
    pub(crate) wal: u64,
    /// Files of the log.
    pub(crate) files: u64,
}

/// The name that the store's files begin with; the rest says what they are.
const STORE: &str = "rejoinder.db";

impl Process {
    /// `None`: it is gone.
    pub(crate) fn sample(pid: u32) -> Option<Self> {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            line.split_whitespace().next()?.parse::<u64>().ok()
        };
        let (mut files, mut sockets) = (0, 0);
        for entry in fs::read_dir(format!("/proc/{pid}/fd")).ok()?.flatten() {
            let is_socket = fs::read_link(entry.path()).is_ok_and(|to| to.to_string_lossy().starts_with("socket:"));
            *(if is_socket { &mut sockets } else { &mut files }) += 1;
        }
        Some(Self { memory: field("VmRSS:")? * 1024, files, sockets, threads: field("Threads:")?, cpu: cpu(&stat)? })
    }
}

/// Fields 14 and 15 of proc(5). The name in field 2 may hold blanks, so counting starts behind its bracket.
fn cpu(stat: &str) -> Option<Duration> {
    let (_, after_name) = stat.rsplit_once(')')?;
    let mut fields = after_name.split_ascii_whitespace().skip(11);
    let ticks = fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?;
    Some(Duration::from_millis(ticks * 1000 / rustix::param::clock_ticks_per_second()))
}

impl Disk {
    /// Files that vanish meanwhile are none.
    pub(crate) fn sample(data_dir: &Path) -> Self {
        let mut disk = Self::default();
        // A directory that cannot be read has nothing to tell; the server says what is wrong with it.
        let _ = disk.add(data_dir);
        disk
    }

    fn add(&mut self, directory: &Path) -> io::Result<()> {
        for entry in fs::read_dir(directory)?.flatten() {
            let Ok(metadata) = fs::symlink_metadata(entry.path()) else { continue };
            if metadata.is_dir() {
                let _ = self.add(&entry.path());
            }
            let bytes = metadata.blocks() * 512;
            match entry.file_name().to_string_lossy().strip_prefix(STORE) {
                Some("-wal") => self.wal += bytes,
                Some(_) => self.store += bytes,
                None => {
                    self.log += bytes;
                    self.files += 1;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_and_store_are_told_apart_and_sparse_files_are_small() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = |name: &str| directory.path().join(name);
        fs::create_dir(path("log")).expect("a directory");
        fs::write(path("log/segment"), vec![1; 40_000]).expect("a file");
        fs::write(path("rejoinder.db"), vec![1; 20_000]).expect("a file");
        fs::write(path("rejoinder.db-wal"), vec![1; 10_000]).expect("a file");
        fs::File::create(path("log/hole")).and_then(|file| file.set_len(1 << 30)).expect("a file");
        let disk = Disk::sample(directory.path());
        assert!((40_000..100_000).contains(&disk.log), "{disk:?}");
        assert!((20_000..40_000).contains(&disk.store), "{disk:?}");
        assert!((10_000..20_000).contains(&disk.wal), "{disk:?}");
    }

    #[test]
    fn a_process_can_be_seen() {
        let before = Process::sample(std::process::id()).expect("this process");
        let _file = fs::File::open("/proc/self/status").expect("a file");
        let _socket = std::net::UdpSocket::bind("127.0.0.1:0").expect("a socket");
        let with_both = Process::sample(std::process::id()).expect("this process");
        assert!(with_both.files > before.files && with_both.sockets > before.sockets, "{before:?} {with_both:?}");
        assert!(before.memory > 0 && before.threads > 0);
    }
}
