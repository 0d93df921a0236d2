//! The soak: one server under mixed use for a minute or for hours, with a log that keeps things for seconds only, so that
//! expiry and cleaning run all the time; killed, stopped and started again in between. Nothing that was accepted may be
//! lost, and memory, descriptors, threads and the log's disk stay flat. It knows the server from outside only.
//!
//! ```text
//! cargo build --release --bin rejoinder --example soak
//! target/release/examples/soak --server target/release/rejoinder --for 60s
//! ```

#![expect(clippy::print_stdout, reason = "the report is for people")]

mod options;

mod load;
mod restart;
mod uses;

mod follow;
mod later;
mod reading;
mod response;
mod truth;

mod client;
#[expect(unreachable_pub, reason = "it is shared with the tests")]
#[path = "../../support/ports.rs"]
mod ports;
mod server;
mod sse;

mod flat;
mod gauges;
mod report;
mod sampling;
mod tally;
mod world;

use std::process::ExitCode;

use clap::Parser;

use options::Options;
use world::Run;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    let options = Options::parse();
    // One thread: what it takes is taken from the server beside it.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    match runtime.map_err(Into::into).and_then(|runtime| runtime.block_on(soak(options))) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            println!("soak: it could not be run: {error}");
            ExitCode::from(2)
        }
    }
}

/// Runs it all; gives whether everything held.
async fn soak(options: Options) -> Result<bool, Box<dyn std::error::Error>> {
    options.check()?;
    let mut run = Run::start(options).await?;
    run.load().await;
    run.settle().await;
    run.finish().await;
    Ok(report::print(&run))
}
