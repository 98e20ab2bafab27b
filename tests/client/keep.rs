//! Many holds in many sessions, and what becomes of them while servers come and go.

use std::time::Duration;

use lockstead_client::{Client, Guard, HoldState, OnDisconnect, now};
use lockstead_core::duration;
use serde_json::json;

use crate::Failure;

/// How often the holds are looked at. What lasts less may go unseen.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Hold many locks in many sessions, and say as lines of JSON what becomes of each
///
/// First `held` for each lock and `ready` after the last; then `at_risk`, `confirmed` (held again, as is every hold that was
/// at risk and is not lost) and `lost` as they happen. `at` is when it was seen, `valid_until` until when the hold could be
/// relied on then, and `since` from when on a lost one could not be.
#[derive(Debug, clap::Args)]
pub(crate) struct KeepArgs {
    /// Address of the server; several, separated by commas
    #[arg(long, value_name = "URL")]
    server: String,

    /// How many sessions
    #[arg(long, value_name = "M", default_value_t = 1)]
    sessions: usize,

    /// How many locks in each session, named `PREFIX/SESSION/NUMBER`
    #[arg(long, value_name = "N", default_value_t = 1)]
    holds: usize,

    /// What the names begin with
    #[arg(long, default_value = "keep")]
    prefix: String,

    /// What happens to the holds when the stream breaks: `keep` or `release`
    #[arg(long, default_value = "keep", value_parser = on_disconnect)]
    on_disconnect: OnDisconnect,

    /// How long the sessions survive silence
    #[arg(long, value_name = "D", default_value = "10s", value_parser = duration::parse)]
    session_timeout: Duration,
}

/// A hold, and how it stood when it was looked at last.
struct Watched {
    guard: Guard,
    session: usize,
    was: &'static str,
}

fn on_disconnect(text: &str) -> Result<OnDisconnect, String> {
    match text {
        "keep" => Ok(OnDisconnect::Keep),
        "release" => Ok(OnDisconnect::Release),
        other => Err(format!("`{other}` is neither keep nor release")),
    }
}

pub(crate) async fn keep(args: &KeepArgs) -> Result<(), Failure> {
    let mut watched = Vec::new();
    for session in 0..args.sessions {
        let builder = Client::builder().server(&args.server).session_timeout(args.session_timeout);
        let client = builder.on_disconnect(args.on_disconnect).owner(format!("keeper {session}")).connect().await?;
        for number in 0..args.holds {
            let guard = client.lock(format!("{}/{session}/{number}", args.prefix)).acquire().await?;
            watched.push(Watched::new(guard, session));
        }
    }
    println!("{}", json!({ "event": "ready", "at": now().as_micros() }));
    loop {
        watched.iter_mut().for_each(Watched::look);
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

impl Watched {
    fn new(guard: Guard, session: usize) -> Self {
        let watched = Self { guard, session, was: "held" };
        watched.say(None);
        watched
    }

    /// Says what has changed.
    fn look(&mut self) {
        let (is, since) = match self.guard.state() {
            HoldState::Lost(loss) => ("lost", Some((loss.reason, loss.at))),
            HoldState::AtRisk => ("at_risk", None),
            _ if self.was == "at_risk" => ("confirmed", None),
            _ => (self.was, None),
        };
        if std::mem::replace(&mut self.was, is) != is {
            self.say(since);
        }
    }

    fn say(&self, loss: Option<(lockstead_client::LossReason, lockstead_client::Time)>) {
        let Self { guard, session, was } = self;
        let mut line = json!({
            "event": was,
            "session": session,
            "name": guard.name(),
            "token": guard.token(),
            "at": now().as_micros(),
            "valid_until": guard.valid_until().as_micros(),
        });
        if let Some((reason, since)) = loss {
            line["reason"] = reason.as_word().into();
            line["since"] = since.as_micros().into();
        }
        println!("{line}");
    }
}
