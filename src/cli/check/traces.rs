//! The collector of traces: whether it can be reached. Nothing is sent to it.

use super::reach::{Names, reach};
use super::row::{Row, Status};
use crate::telemetry::Otlp;

const NAMES: Names = Names {
    resolve: "traces: resolve",
    connect: "traces: connect",
    change: "OTEL_EXPORTER_OTLP_ENDPOINT, for example OTEL_EXPORTER_OTLP_ENDPOINT=http://localhost:4318; or leave it empty",
};

/// A collector that is away stops no reply: its traces are dropped, and the rest works. So it only warns.
pub(super) async fn probe(otlp: &Otlp) -> Vec<Row> {
    let mut rows = reach(&otlp.endpoint, &NAMES).await.rows;
    for row in &mut rows {
        row.status = row.status.min(Status::Warn);
    }
    rows
}
