//! Labels, whose values are all known in advance.

use lockstead_core::Scope;

/// A label, or several: each value has a number.
pub(crate) trait Label: Copy {
    /// How many values there are.
    const COUNT: usize;

    /// Below `COUNT`.
    fn index(self) -> usize;

    /// The value of this number.
    fn nth(index: usize) -> Self;

    /// Adds the label's name and value.
    fn write(self, to: &mut Vec<(&'static str, &'static str)>);
}

/// None.
impl Label for () {
    const COUNT: usize = 1;

    fn index(self) -> usize {
        0
    }

    fn nth(_: usize) -> Self {}

    fn write(self, _: &mut Vec<(&'static str, &'static str)>) {}
}

/// Two.
impl<A: Label, B: Label> Label for (A, B) {
    const COUNT: usize = A::COUNT * B::COUNT;

    fn index(self) -> usize {
        self.0.index() * B::COUNT + self.1.index()
    }

    fn nth(index: usize) -> Self {
        (A::nth(index / B::COUNT), B::nth(index % B::COUNT))
    }

    fn write(self, to: &mut Vec<(&'static str, &'static str)>) {
        self.0.write(to);
        self.1.write(to);
    }
}

impl Label for Scope {
    const COUNT: usize = 2;

    fn index(self) -> usize {
        match self {
            Self::Cluster => 0,
            Self::Node => 1,
        }
    }

    fn nth(index: usize) -> Self {
        if index == 0 { Self::Cluster } else { Self::Node }
    }

    fn write(self, to: &mut Vec<(&'static str, &'static str)>) {
        to.push(("scope", if self == Self::Cluster { "cluster" } else { "node" }));
    }
}

/// Declares a label with its values.
macro_rules! labels {
    ($($(#[$about:meta])* $vis:vis $name:ident($label:literal) { $($(#[$doc:meta])* $value:ident = $text:literal,)* })*) => {$(
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        $vis enum $name {
            $($(#[$doc])* $value,)*
        }

        impl $name {
            const ALL: &[Self] = &[$(Self::$value,)*];
        }

        impl Label for $name {
            const COUNT: usize = Self::ALL.len();

            fn index(self) -> usize {
                self as usize
            }

            #[expect(clippy::indexing_slicing, reason = "numbers come from `index`")]
            fn nth(index: usize) -> Self {
                Self::ALL[index]
            }

            fn write(self, to: &mut Vec<(&'static str, &'static str)>) {
                let text = match self { $(Self::$value => $text,)* };
                to.push(($label, text));
            }
        }
    )*};
}

labels! {
    /// What came of an acquire.
    pub Outcome("outcome") {
        /// It holds.
        Acquired = "acquired",
        /// Others hold, and it only tried.
        Held = "held",
        /// Its wait was over.
        WaitTimeout = "wait_timeout",
        /// It was the victim of a deadlock.
        Deadlock = "deadlock",
        /// It was taken back.
        Cancelled = "cancelled",
    }

    /// Who released a hold.
    pub By("by") {
        /// The session that had it.
        Session = "session",
        /// Whoever had its hold id.
        Bearer = "bearer",
        /// The end of its hold stream.
        Stream = "stream",
    }

    /// How a hold was lost.
    pub Loss("reason") {
        /// Its deadline or its session's timeout has passed.
        Expired = "expired",
        /// Somebody else ended it.
        Broken = "broken",
        /// Its session's stream broke.
        Disconnected = "disconnected",
        /// The server ended.
        ServerLost = "server_lost",
        /// The store was out of reach, or lost what it knew.
        BackendLost = "backend_lost",
    }

    /// How a session ended.
    pub SessionEnd("end") {
        /// As its client wished.
        Closed = "closed",
        /// With its stream.
        Disconnected = "disconnected",
        /// By its client's silence.
        Expired = "expired",
        /// With the server.
        Drained = "drained",
        /// Here only: it waits for its client to resume it on another server.
        Left = "left",
        /// Here only: its client has resumed it on another server.
        Moved = "moved",
    }

    /// Where a session was before it was resumed.
    pub From("from") {
        /// On this server.
        Here = "here",
        /// On another one.
        Elsewhere = "elsewhere",
    }

    /// Why a request was turned away before it was looked at.
    pub Refused("reason") {
        /// It had no credentials, or bad ones.
        Unauthenticated = "unauthenticated",
        /// Its credentials are not good for this.
        Forbidden = "forbidden",
        /// Its caller asks for more than it may have.
        Quota = "quota",
    }

    /// What an engine is asked to do.
    pub(super) Operation("operation") {
        /// `Engine::acquire`.
        Acquire = "acquire",
        /// `Engine::renew`.
        Renew = "renew",
        /// `Engine::release`.
        Release = "release",
        /// `Engine::cancel`.
        Cancel = "cancel",
        /// `Engine::end_session`.
        EndSession = "end_session",
        /// `Engine::resume_session`.
        ResumeSession = "resume_session",
        /// `Engine::get`.
        Get = "get",
        /// `Engine::list`.
        List = "list",
    }

    /// How an engine's call failed.
    pub(super) Failure("error") {
        /// The store was out of reach, or did not answer.
        Unavailable = "unavailable",
        /// The rules, or what the engine can do, did not allow it.
        Refused = "refused",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check<L: Label>() {
        for index in 0..L::COUNT {
            assert_eq!(L::nth(index).index(), index);
        }
    }

    #[test]
    fn each_value_has_its_number() {
        check::<()>();
        check::<(Scope, Loss)>();
        check::<((Scope, Outcome), Operation)>();
        let mut written = Vec::new();
        (Scope::Node, Loss::BackendLost).write(&mut written);
        assert_eq!(written, [("scope", "node"), ("reason", "backend_lost")]);
    }
}
