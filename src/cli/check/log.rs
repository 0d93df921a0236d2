//! The place of the log: whether it can be written, has space, and is free.

use super::row::{Row, Status};
use crate::cli::chain;
use crate::config::Config;
use crate::log::embedded::{self, Inspection};

const WHAT: &str = "log";

pub(super) async fn probe(config: &Config) -> Vec<Row> {
    let dir = config.data_dir.clone();
    let value = dir.display().to_string();
    // A disk of another machine may hang.
    match tokio::task::spawn_blocking(move || embedded::inspect(&dir)).await {
        Ok(Ok(found)) => vec![row(value, &found, config.log.min_free_disk)],
        Ok(Err(error)) => vec![
            Row::new(Status::Fail, WHAT, value, "cannot be written")
                .why(chain(&error))
                .change("DATA_DIR, for example DATA_DIR=/var/lib/rejoinder: a directory that this user may write"),
        ],
        Err(error) => vec![Row::new(Status::Fail, WHAT, value, "cannot be looked at").why(chain(&error))],
    }
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
