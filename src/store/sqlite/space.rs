//! Free pages are given back to the filesystem, a few at a time, so that no batch waits for long.

use std::time::{Duration, Instant};

use sqlx::AssertSqlSafe;
use sqlx::sqlite::{SqliteConnection, SqlitePool};
use tokio_util::sync::CancellationToken;

/// So many free pages, or a tenth of all, are kept: they are used again soon. 8 MiB.
const KEPT: u64 = 1024;
/// It is not begun for fewer pages than this, and comes to rest after so many: the write-ahead log holds them all.
const PORTION: [u64; 2] = [128, 1024];
/// How long a step should take.
const STEP: Duration = Duration::from_millis(5);

/// Gives a portion of free pages back, if there are more than are kept, and tells how many it gave.
pub(super) async fn give_back(writer: &SqlitePool, stop: &CancellationToken) -> Result<u64, sqlx::Error> {
    let wanted = portion(&mut *writer.acquire().await?).await?;
    let (mut given, mut at_once) = (0, 16);
    while given < wanted && !stop.is_cancelled() {
        let mut connection = writer.acquire().await?;
        let begun = Instant::now();
        let pages = at_once.min(wanted - given);
        sqlx::query(AssertSqlSafe(format!("PRAGMA incremental_vacuum({pages})"))).execute(&mut *connection).await?;
        let took = begun.elapsed();
        drop(connection);
        given += pages;
        at_once = if took > STEP { (at_once / 2).max(1) } else { at_once * 2 };
        // Batches have the other half of the time.
        tokio::time::sleep(took).await;
    }
    Ok(given)
}

async fn portion(connection: &mut SqliteConnection) -> Result<u64, sqlx::Error> {
    let free: i64 = sqlx::query_scalar("PRAGMA freelist_count").fetch_one(&mut *connection).await?;
    let all: i64 = sqlx::query_scalar("PRAGMA page_count").fetch_one(connection).await?;
    let [free, all] = [free, all].map(|pages| u64::try_from(pages).unwrap_or(0));
    let [fewest, most] = PORTION;
    let more = free.saturating_sub(KEPT.max(all / 10));
    Ok(if more < fewest { 0 } else { more.min(most) })
}
