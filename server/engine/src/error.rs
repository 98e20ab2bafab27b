//! What an engine can fail with.

use lockstead_core::{Invalid, Refusal};
use thiserror::Error;

/// What an engine answers.
pub type Result<T> = std::result::Result<T, EngineError>;

/// Why a call failed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum EngineError {
    /// The rules do not allow it, and nothing was changed. Repeating it gives the same answer.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// This engine can't do it, and nothing was changed.
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// The store that keeps the truth can't be reached, or does not answer. The call may have happened; see
    /// [`Engine`](crate::Engine) for what becomes of it. Holds this sentence for the caller: it names no address and no
    /// secret.
    #[error("{0}")]
    Unavailable(&'static str),
}
