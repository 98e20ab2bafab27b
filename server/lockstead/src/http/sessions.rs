//! Sessions, as JSON.

use std::collections::BTreeMap;

use lockstead_core::duration;
use serde::Serialize;
use utoipa::ToSchema;

use super::answer::{metadata, time};
use crate::service::session::{OnDisconnect, SessionView};

/// The sessions of this server.
#[derive(Serialize, ToSchema)]
pub(super) struct SessionList {
    /// Oldest first.
    sessions: Vec<Session>,
}

/// A client's session.
#[expect(clippy::struct_field_names, reason = "the fields are called so in JSON")]
#[derive(Serialize, ToSchema)]
struct Session {
    /// Which. No secret: to resume it takes more.
    #[schema(example = "9c1f0e5ab27d4836b5d0c4e19f7a2836")]
    session_id: String,
    /// Who, in its own words.
    #[schema(example = "worker-7")]
    owner: String,
    /// What it wants others to know.
    metadata: BTreeMap<String, String>,
    /// Since when, by the server's clock.
    #[schema(format = DateTime, example = "2026-11-21T02:17:50.123456Z")]
    opened_at: String,
    /// How long it survives silence.
    #[schema(example = "10s")]
    session_timeout: String,
    /// What happens to its holds when its stream breaks.
    on_disconnect: OnDisconnectWord,
    /// Whether it has a stream now.
    #[schema(example = true)]
    attached: bool,
    /// How many of its acquires stand in a queue.
    #[schema(example = 0)]
    waiting: usize,
}

/// What happens to the holds of a session whose stream breaks.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = OnDisconnect)]
enum OnDisconnectWord {
    /// They end at once.
    Release,
    /// They live until the session timeout.
    Keep,
}

impl SessionList {
    pub(super) fn new(views: Vec<SessionView>) -> Self {
        Self { sessions: views.into_iter().map(Session::from).collect() }
    }
}

impl From<SessionView> for Session {
    fn from(view: SessionView) -> Self {
        Self {
            session_id: view.id.to_string(),
            owner: view.owner.as_str().to_owned(),
            metadata: metadata(&view.metadata),
            opened_at: time(view.opened_at),
            session_timeout: duration::format(view.timeout),
            on_disconnect: match view.on_disconnect {
                OnDisconnect::Release => OnDisconnectWord::Release,
                OnDisconnect::Keep => OnDisconnectWord::Keep,
            },
            attached: view.attached,
            waiting: view.waiting,
        }
    }
}
