//! What the span of a request says of it. No secret is among it.

use lockstead_api::v1::not_acquired::Reason;
use lockstead_core::{Grant, Kind, Name, ResourceKey, Scope, Token};
use opentelemetry::trace::TraceContextExt;
use opentelemetry::{Context, KeyValue};

use super::is_on;
use crate::service::Ask;

/// What is asked for.
pub(crate) fn note_ask(ask: &Ask) {
    note(|| resource(ask.scope, ask.claim.kind(), &ask.name));
}

/// What is asked about.
pub(crate) fn note_resource(scope: Scope, key: &ResourceKey) {
    note(|| resource(scope, key.kind, &key.name));
}

/// What was granted, or renewed.
pub(crate) fn note_grant(grant: &Grant, outcome: &'static str) {
    note(|| self::grant(grant.token, outcome));
}

/// What came of it, in a word.
pub(crate) fn note_outcome(outcome: &'static str) {
    note(|| [KeyValue::new("lockstead.outcome", outcome)]);
}

/// Adds to the span of the request that this task carries out, if it is recorded.
fn note<const N: usize>(attributes: impl FnOnce() -> [KeyValue; N]) {
    if !is_on() {
        return;
    }
    Context::map_current(|context| {
        let span = context.span();
        if span.is_recording() {
            span.set_attributes(attributes());
        }
    });
}

/// The attributes of a resource.
pub(crate) fn resource(scope: Scope, kind: Kind, name: &Name) -> [KeyValue; 3] {
    let scope = match scope {
        Scope::Cluster => "cluster",
        Scope::Node => "node",
    };
    let kind = match kind {
        Kind::Lock => "lock",
        Kind::Semaphore => "semaphore",
    };
    [
        KeyValue::new("lockstead.name", name.to_string()),
        KeyValue::new("lockstead.kind", kind),
        KeyValue::new("lockstead.scope", scope),
    ]
}

/// The attributes of a grant.
pub(crate) fn grant(token: Token, outcome: &'static str) -> [KeyValue; 2] {
    // Tokens are below 2^53.
    let token = i64::try_from(token.get()).unwrap_or(i64::MAX);
    [KeyValue::new("lockstead.outcome", outcome), KeyValue::new("lockstead.fencing_token", token)]
}

/// Why an acquire got nothing, in a word.
pub(crate) fn outcome_of(reason: Reason) -> &'static str {
    match reason {
        Reason::Held => "held",
        Reason::WaitTimeout => "wait_timeout",
        Reason::Deadlock => "deadlock",
        Reason::Cancelled => "cancelled",
        Reason::Unspecified => "not_acquired",
    }
}
