//! What leases, hold streams and sessions ask for in the same words, and what can be wrong with it.

use std::collections::BTreeMap;

use lockstead_api::v1::{self, ErrorReason, claim::Demand, wait::How};

use super::seconds;

const YEAR_SECONDS: i64 = 365 * 24 * 3600;

/// The fields that every acquire has.
pub(super) struct Ask {
    pub(super) claim: Option<v1::Claim>,
    pub(super) wait: Option<v1::Wait>,
    pub(super) owner: String,
    pub(super) metadata: BTreeMap<String, String>,
}

/// Makes a good one wrong.
pub(super) type Spoil = fn(&mut Ask);

impl Ask {
    /// One that would be granted.
    pub(super) fn good() -> Self {
        let claim = v1::Claim { name: "bad/input".to_owned(), ..v1::Claim::default() };
        Self { claim: Some(claim), wait: None, owner: "tester".to_owned(), metadata: BTreeMap::new() }
    }

    /// A good one, spoilt.
    pub(super) fn spoilt(spoil: Spoil) -> Self {
        let mut ask = Self::good();
        spoil(&mut ask);
        ask
    }

    fn name(&mut self, name: impl Into<String>) {
        self.claim.get_or_insert_default().name = name.into();
    }

    fn scope(&mut self, scope: i32) {
        self.claim.get_or_insert_default().scope = scope;
    }

    fn mode(&mut self, mode: i32) {
        self.claim.get_or_insert_default().demand = Some(Demand::Lock(mode));
    }

    fn permits(&mut self, permits: u32, limit: u32) {
        self.claim.get_or_insert_default().demand = Some(Demand::Semaphore(v1::Permits { permits, limit }));
    }

    fn wait(&mut self, how: impl Into<Option<How>>) {
        self.wait = Some(v1::Wait { how: how.into() });
    }

    fn entry(&mut self, key: impl Into<String>, value: impl Into<String>) {
        self.metadata.insert(key.into(), value.into());
    }
}

pub(super) const WRONG: &[(&str, Spoil, ErrorReason)] = &[
    ("no claim", |ask| ask.claim = None, ErrorReason::InvalidName),
    ("no name", |ask| ask.name(""), ErrorReason::InvalidName),
    ("a long name", |ask| ask.name("x".repeat(256)), ErrorReason::InvalidName),
    ("a name longer in bytes than in letters", |ask| ask.name("é".repeat(128)), ErrorReason::InvalidName),
    ("a huge name", |ask| ask.name("x".repeat(1 << 15)), ErrorReason::InvalidName),
    ("a name with a control character", |ask| ask.name("a\u{7f}b"), ErrorReason::InvalidName),
    ("a name with a NUL", |ask| ask.name("a\0b"), ErrorReason::InvalidName),
    ("an empty level", |ask| ask.name("a//b"), ErrorReason::InvalidName),
    ("a slash at the end", |ask| ask.name("a/"), ErrorReason::InvalidName),
    ("a way up", |ask| ask.name("a/../b"), ErrorReason::InvalidName),
    ("an unknown scope", |ask| ask.scope(9), ErrorReason::InvalidScope),
    ("a negative scope", |ask| ask.scope(-1), ErrorReason::InvalidScope),
    ("a scope that is not offered", |ask| ask.scope(v1::Scope::Node.into()), ErrorReason::InvalidScope),
    ("an unknown mode", |ask| ask.mode(3), ErrorReason::InvalidMode),
    ("a negative mode", |ask| ask.mode(i32::MIN), ErrorReason::InvalidMode),
    ("no limit", |ask| ask.permits(1, 0), ErrorReason::InvalidLimit),
    ("a limit too large", |ask| ask.permits(1, 1_000_001), ErrorReason::InvalidLimit),
    ("a huge limit", |ask| ask.permits(1, u32::MAX), ErrorReason::InvalidLimit),
    ("more permits than there are", |ask| ask.permits(5, 4), ErrorReason::InvalidPermits),
    ("a huge number of permits", |ask| ask.permits(u32::MAX, 4), ErrorReason::InvalidPermits),
    ("a wait that says nothing", |ask| ask.wait(None), ErrorReason::InvalidWait),
    ("a wait that is not forever", |ask| ask.wait(How::Forever(false)), ErrorReason::InvalidWait),
    ("a negative wait", |ask| ask.wait(How::UpTo(seconds(-1))), ErrorReason::InvalidWait),
    ("a very negative wait", |ask| ask.wait(How::UpTo(seconds(i64::MIN))), ErrorReason::InvalidWait),
    ("a wait too long", |ask| ask.wait(How::UpTo(seconds(YEAR_SECONDS + 1))), ErrorReason::InvalidWait),
    ("a huge wait", |ask| ask.wait(How::UpTo(seconds(i64::MAX))), ErrorReason::InvalidWait),
    ("a long owner", |ask| ask.owner = "o".repeat(256), ErrorReason::InvalidOwner),
    ("an owner with a line break", |ask| ask.owner.push('\n'), ErrorReason::InvalidOwner),
    ("much metadata", |ask| (0..17).for_each(|n| ask.entry(n.to_string(), "")), ErrorReason::InvalidMetadata),
    ("an empty metadata key", |ask| ask.entry("", "v"), ErrorReason::InvalidMetadata),
    ("a long metadata key", |ask| ask.entry("k".repeat(65), "v"), ErrorReason::InvalidMetadata),
    ("a long metadata value", |ask| ask.entry("k", "v".repeat(513)), ErrorReason::InvalidMetadata),
];
