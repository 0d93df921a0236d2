//! Spans of what happens to a reply: in one trace from its request on, on whichever instance it goes on.
//!
//! The record that accepts a reply holds the trace; whoever works on the reply later goes on in it. A reply whose request is
//! not traced has no spans. Spans hold ids, names and numbers, and no text. They are at a level that log lines do not
//! have by default: the lines of a reply are not longer for them.

use opentelemetry::KeyValue;
use opentelemetry::propagation::{Extractor, TextMapPropagator};
use opentelemetry::trace::TraceContextExt;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use tracing::Span;
use tracing::field::{Empty, display};
use tracing_opentelemetry::OpenTelemetrySpanExt;

/// The target of all of them.
pub(crate) const TARGET: &str = "rejoinder::spans";

/// The header, and the form in which records hold it (W3C Trace Context).
const TRACEPARENT: &str = "traceparent";

/// Where the span that we are in stands, as `traceparent` has it. `None`: nobody is to see it.
pub(crate) fn current_trace() -> Option<String> {
    trace_of(&Span::current())
}

/// Where a span stands, as `traceparent` has it. `None`: nobody is to see it.
pub(crate) fn trace_of(span: &Span) -> Option<String> {
    let context = span.context();
    let span = context.span();
    let place = span.span_context();
    let is_exported = place.is_valid() && place.is_sampled();
    is_exported.then(|| format!("00-{}-{}-{:02x}", place.trace_id(), place.span_id(), place.trace_flags().to_u8()))
}

/// The id of the trace in a `traceparent`.
pub(crate) fn trace_id(trace: &str) -> Option<&str> {
    trace.split('-').nth(1)
}

/// The work on a reply on this instance.
pub(crate) fn reply_span(trace: Option<&str>, reply: &dyn std::fmt::Display, is_takeover: bool) -> Span {
    within(trace, || {
        let name = if is_takeover { "continue reply" } else { "generate reply" };
        tracing::debug_span!(
            target: TARGET, "reply", otel.name = name, rejoinder.reply = %reply, rejoinder.takeover = is_takeover,
            rejoinder.outcome = Empty
        )
    })
}

/// The wait of a reply for its turn at a model.
pub(crate) fn turn_span() -> Span {
    if Span::current().is_none() {
        return Span::none();
    }
    tracing::debug_span!(target: TARGET, "turn", otel.name = "wait for model")
}

/// One call of a model server for a reply.
pub(crate) fn chat_span(model: &str, (provider, address): (&str, Option<&str>)) -> Span {
    if Span::current().is_none() {
        return Span::none();
    }
    let span = tracing::debug_span!(
        target: TARGET, "chat", otel.name = Empty, otel.kind = "client", otel.status_code = Empty,
        gen_ai.operation.name = "chat", gen_ai.provider.name = provider, gen_ai.request.model = model,
        gen_ai.usage.input_tokens = Empty, gen_ai.usage.output_tokens = Empty,
        server.address = address
    );
    span.record("otel.name", display(format_args!("chat {model}")));
    span
}

/// The first piece of an answer came.
pub(crate) fn first_chunk(span: &Span) {
    if !span.is_none() {
        span.add_event("first chunk", Vec::new());
    }
}

/// A call of a model server is over.
pub(crate) fn chat_ended(span: &Span, failure: Option<&str>, [input, output]: [u64; 2]) {
    if let Some(failure) = failure {
        span.set_attribute("error.type", failure.to_owned());
        span.record("otel.status_code", "ERROR");
    }
    span.record("gen_ai.usage.input_tokens", input);
    span.record("gen_ai.usage.output_tokens", output);
}

/// Text that was sent and came, where the operator wants to see it.
pub(crate) fn chat_content(span: &Span, input: &str, output: &str) {
    if !span.is_none() {
        span.add_event(
            "gen_ai.client.inference.operation.details",
            vec![
                KeyValue::new("gen_ai.input.messages", input.to_owned()),
                KeyValue::new("gen_ai.output.messages", output.to_owned()),
            ],
        );
    }
}

/// The store gets a reply.
pub(crate) fn projection_span(trace: &str) -> Span {
    within(Some(trace), || tracing::debug_span!(target: TARGET, "project", otel.name = "project reply"))
}

/// The end of a reply is posted to an endpoint.
pub(crate) fn webhook_span(trace: Option<&str>, host: Option<&str>) -> Span {
    within(trace, || {
        tracing::debug_span!(
            target: TARGET, "webhook", otel.name = "POST webhook", otel.kind = "producer", server.address = host
        )
    })
}

/// A span in a trace that a record holds. Without one there is none.
fn within(trace: Option<&str>, make: impl FnOnce() -> Span) -> Span {
    let Some(trace) = trace else { return Span::none() };
    let span = make();
    if !span.is_disabled() {
        // It fails only where nobody exports: then there is nothing to be a parent of.
        let _ = span.set_parent(TraceContextPropagator::new().extract(&Stored(trace)));
    }
    span
}

/// A trace as a record holds it, as a propagator reads it.
struct Stored<'a>(&'a str);

impl Extractor for Stored<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        (key == TRACEPARENT).then_some(self.0)
    }

    fn keys(&self) -> Vec<&str> {
        vec![TRACEPARENT]
    }
}
