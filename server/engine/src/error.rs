//! What an engine can fail with.

use lockstead_core::Refusal;
use thiserror::Error;

/// What an engine answers.
pub type Result<T> = std::result::Result<T, EngineError>;

/// Why a call failed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum EngineError {
    /// The rules do not allow it, and nothing was changed. Repeating it gives the same answer.
    #[error(transparent)]
    Refused(#[from] Refusal),
}
