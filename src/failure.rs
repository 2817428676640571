//! Why an operation did not do what was asked: what a guest sees, a journal keeps and a person reads.
use serde::{Deserialize, Serialize};

/// The kinds of `error` in `wit/types.wit`, in its order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FailureKind {
    Denied,
    NotFound,
    Invalid,
    Unavailable,
    TimedOut,
    Conflict,
    Unproven,
    Inconclusive,
    Failed,
}

impl FailureKind {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Denied => "denied",
            Self::NotFound => "not-found",
            Self::Invalid => "invalid",
            Self::Unavailable => "unavailable",
            Self::TimedOut => "timed-out",
            Self::Conflict => "conflict",
            Self::Unproven => "unproven",
            Self::Inconclusive => "inconclusive",
            Self::Failed => "failed",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message} ({})", kind.as_str())]
pub struct Failure {
    pub kind: FailureKind,
    /// A lowercase fragment for people. Never a secret; a path of the host only where the operator, not the guest, reads it.
    pub message: String,
    /// What the operator can do about it. No guest is told: it may name paths of the host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl Failure {
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

macro_rules! constructors { ($($name:ident: $kind:ident),* $(,)?) => { impl Failure {
    pub fn new(kind: FailureKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), hint: None }
    }
    $(pub fn $name(message: impl Into<String>) -> Self { Self::new(FailureKind::$kind, message) })*
} }; }
constructors! {
    denied: Denied,
    not_found: NotFound,
    invalid: Invalid,
    unavailable: Unavailable,
    timed_out: TimedOut,
    conflict: Conflict,
    unproven: Unproven,
    inconclusive: Inconclusive,
    failed: Failed,
}
