//! The place of the log: whether it can be written, has space, and is free; and whether its records can be read.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use super::STEP;
use super::row::{Row, Status};
use crate::cli::chain;
use crate::config::Config;
use crate::log::embedded::{self, Inspection, OpenError, Verified};
use crate::store::{Store, Tables};

const WHAT: &str = "log";
const RECORDS: &str = "log: records";

/// How long its records are read; the newest segments are read first.
const READING: Duration = Duration::from_secs(4);

/// Damaged records that are named.
const NAMED: usize = 5;

pub(super) async fn probe(config: &Config) -> Vec<Row> {
    let dir = config.data_dir.clone();
    let value = dir.display().to_string();
    // A disk of another machine may hang.
    match tokio::task::spawn_blocking(move || embedded::inspect(&dir)).await {
        Ok(Ok(found)) => {
            let mut rows = vec![row(value.clone(), &found, config.log.min_free_disk)];
            if found.exists {
                rows.push(records(config, value, found.in_use).await);
            }
            rows
        }
        Ok(Err(error)) => vec![failure(value, &error)],
        Err(error) => vec![Row::new(Status::Fail, WHAT, value, "cannot be looked at").why(chain(&error))],
    }
}

fn failure(value: String, error: &OpenError) -> Row {
    match error {
        OpenError::OlderForm { dir } => Row::new(Status::Fail, WHAT, value, "is of an older version of rejoinder")
            .why(chain(error))
            .change(format!("let the older version end what still runs, then mv {dir} {dir}.old", dir = dir.display())),
        _ => Row::new(Status::Fail, WHAT, value, "cannot be written")
            .why(chain(error))
            .change("DATA_DIR, for example DATA_DIR=/var/lib/rejoinder: a directory that this user may write"),
    }
}

/// Whether every record can be read.
async fn records(config: &Config, value: String, in_use: bool) -> Row {
    let (dir, until) = (config.data_dir.clone(), Instant::now() + READING);
    let verified = match tokio::task::spawn_blocking(move || embedded::verify(&dir, in_use, Some(until))).await {
        Ok(Ok(verified)) => verified,
        Ok(Err(error)) => return Row::new(Status::Fail, RECORDS, value, "cannot be read").why(chain(&error)),
        Err(error) => return Row::new(Status::Fail, RECORDS, value, "cannot be read").why(chain(&error)),
    };
    let stored = match verified.last_lost {
        Some(_) => position(config).await,
        None => None,
    };
    told(value, &verified, stored)
}

/// Up to where the store has everything. `None`: it cannot be asked.
async fn position(config: &Config) -> Option<u64> {
    let open = Store::open(&config.store, Tables::Leave);
    let store = tokio::time::timeout(STEP, open).await.ok()?.ok()?;
    let position = tokio::time::timeout(STEP, store.position(0)).await.ok()?.ok()?;
    store.close().await;
    Some(position.map_or(0, |position| position.position))
}

fn told(value: String, verified: &Verified, stored: Option<u64>) -> Row {
    let Verified { segments, records, bytes, unread, damaged, torn, .. } = verified;
    let mut detail = format!("{records} records in {segments} segments, {}", size(*bytes));
    if *unread > 0 {
        let _ = write!(detail, "; {unread} older segments were not read in time");
    }
    if *torn > 0 {
        let _ = write!(detail, "; {torn} bytes at its end were not written whole: the next start cuts them");
    }
    if *damaged == 0 {
        return Row::new(if *torn > 0 { Status::Note } else { Status::Ok }, RECORDS, value, detail);
    }
    let mut named: Vec<_> = verified.lost.iter().take(NAMED).map(ToString::to_string).collect();
    if verified.lost.len() > NAMED {
        named.push("and more".to_owned());
    }
    let change = match (verified.last_lost, stored) {
        (None, _) => "nothing: no thread has lost anything, and replies that lost some events and have ended are whole",
        (Some(last), Some(stored)) if stored >= last => {
            "nothing: the store has what the log lost of threads. Look after the disk, and keep backups"
        }
        (Some(_), Some(_)) => {
            "the store lacks some of it: put DATA_DIR back from a backup, or go on without. Look after the disk"
        }
        (Some(_), None) => "the store could not be asked whether it has it; make it work first (DATABASE_URL)",
    };
    let detail = format!("{detail}; {damaged} places are damaged");
    Row::new(Status::Warn, RECORDS, value, detail).why(named.join("; ")).change(change)
}

fn row(value: String, found: &Inspection, min_free: u64) -> Row {
    let free = size(found.free);
    if found.free < min_free {
        let detail = format!("{free} free: nothing new would be accepted");
        return Row::new(Status::Fail, WHAT, value, detail)
            .why(format!("MIN_FREE_DISK wants {}", size(min_free)))
            .change("make room, or DATA_DIR, or MIN_FREE_DISK, for example MIN_FREE_DISK=64MiB");
    }
    if found.in_use {
        let detail = format!("in use by a running server; {free} free");
        return Row::new(Status::Warn, WHAT, value, detail).change(
            "nothing, if that is the one that is meant; a second one needs its own DATA_DIR, for example \
             DATA_DIR=./data-2",
        );
    }
    let detail = if found.exists { format!("{free} free") } else { format!("will be made; {free} free") };
    Row::new(Status::Ok, WHAT, value, detail)
}

fn size(bytes: u64) -> String {
    let units = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    let fitting = units.into_iter().find(|(_, unit)| bytes >= *unit);
    let Some((name, unit)) = fitting else { return format!("{bytes} bytes") };
    // Tenths are all that anybody reads.
    format!("{}.{} {name}", bytes / unit, bytes % unit * 10 / unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_counts_more_than_a_server_that_runs_on_it() {
        let status = |exists, in_use, free| row(String::new(), &Inspection { exists, in_use, free }, 100).status;
        assert_eq!(status(true, true, 99), Status::Fail);
        assert_eq!(status(true, true, 100), Status::Warn);
        assert_eq!((status(true, false, 100), status(false, false, 100)), (Status::Ok, Status::Ok));
    }

    #[test]
    fn sizes_have_one_digit_after_the_point() {
        assert_eq!(
            [size(5), size(1536), size(64 << 20), size(12 << 30)],
            ["5 bytes", "1.5 KiB", "64.0 MiB", "12.0 GiB"]
        );
    }
}
