//! All scenarios, and the macro that makes tests of them.

pub(crate) mod calls;
pub(crate) mod cancels;
pub(crate) mod grants;
pub(crate) mod idempotence;
pub(crate) mod leases;
pub(crate) mod queries;
pub(crate) mod reentry;
pub(crate) mod releases;
pub(crate) mod sessions;

/// Makes one test of each scenario for one engine: `conformance!(module, path::to::fixture)`, where the fixture is an async
/// function that returns a new [`crate::fixture::Fixture`]. A scenario that is not listed here is dead code, which the
/// compiler reports.
macro_rules! conformance {
    ($engine:ident, $fixture:path) => {
        $crate::suite::conformance! { @all $engine, $fixture,
            calls: atomic, due_first, refused_changes_nothing, events_in_order_and_once, dropped_calls;
            grants: at_once, tries, nobody_barges, strict_order, shared_neighbours, large_head, separate_kinds,
                limit_in_use, tokens_grow;
            idempotence: session_number, request_id, at_the_same_time, something_else, ended_request, repeat_in_queue;
            reentry: passes_the_queue, same_key_only, no_more_than_held, merges_in_the_queue;
            leases: expiry_serves_the_queue, ttl_of_a_waiter, renewal, renew_refused;
            releases: next_in_the_same_step, entries, bearer_of_a_lease, bearer_of_a_session, not_the_releasers;
            cancels: waiter_leaves_no_trace, lets_others_in, kept_or_given_back, may_come_again, one_entry;
            sessions: end_grants_none_in_passing, end_counts, end_of_waiters, resume_keeps_what_is_listed,
                resume_cuts_entries, resume_keeps_pending, resume_reports_lost;
            queries: unused, parties, lists, census;
        }
    };
    (@all $engine:ident, $fixture:path, $($suite:ident: $($scenario:ident),+;)+) => {
        mod $engine {
            $(mod $suite {
                $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $scenario() {
                    $crate::suite::$suite::$scenario(&$fixture().await).await;
                })+
            })+
        }
    };
}
pub(crate) use conformance;
