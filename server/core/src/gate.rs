//! Who has a say in grants beside the rules.

use crate::ids::HoldId;
use crate::labels::Owner;
use crate::resource::{Claim, ResourceKey, Token};
use crate::time::WallTime;

/// Stands between a machine and whoever else uses what its resources stand for, unknown to the machine: other programs
/// that lock the same files. The machine says who is next, the gate whether others let them in now.
///
/// The machine asks once for each grant that its rules allow, and makes it if it is let in. While the gate keeps the head
/// of a queue out, nobody behind it is asked for; [`Knock`](crate::Knock) asks again.
pub trait Gate {
    /// Lets a hold in, and says with which token: `least` or a greater one. Every hold that is let in leaves later.
    fn admit(&mut self, entrant: &Entrant<'_>, least: Token) -> Result<Token, Closed>;

    /// A hold that was let in has ended. Another may be admitted before the command is over.
    fn leave(&mut self, hold: HoldId, resource: &ResourceKey);
}

/// Whom a gate is asked to let in.
#[derive(Clone, Copy, Debug)]
pub struct Entrant<'a> {
    /// The hold that it would be.
    pub hold: HoldId,
    /// Of what.
    pub resource: &'a ResourceKey,
    /// How much of it.
    pub claim: Claim,
    /// Who asks, for people to read.
    pub owner: &'a Owner,
    /// When the grant would be.
    pub at: WallTime,
}

/// Why a gate lets nobody in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closed {
    /// Others hold it.
    ByOthers,
    /// It can't be told whether others hold it, for this reason. A new acquire is refused; who waits already waits on.
    OutOfOrder(&'static str),
}

/// The gate of a machine that has everything to itself.
#[derive(Clone, Copy, Debug, Default)]
pub struct Open;

impl Gate for Open {
    fn admit(&mut self, _: &Entrant<'_>, least: Token) -> Result<Token, Closed> {
        Ok(least)
    }

    fn leave(&mut self, _: HoldId, _: &ResourceKey) {}
}
