//! Who decides, where the world or a part of it is simulated, how a call goes.
use super::{
    again, allowance,
    operation::{Half, Operation},
};
use crate::{
    journal::Place,
    resource::{Clock, Failure, Kind, Right},
};
use serde::Deserialize as _;
use serde_json::Value;

/// A call that is about to be made.
#[derive(Clone, Debug)]
pub struct Considered<'a> {
    pub place: &'a Place,
    /// of the operation within its place
    pub sequence: u32,
    pub operation: &'static str,
    /// of the resource
    pub kind: &'static str,
    pub label: &'a str,
    /// Intent and outcome would be made durable one by one.
    pub changes: bool,
    /// That it needs; a call on the run itself needs none, and cannot fail.
    pub right: Option<Right>,
}

pub trait Fate: Send + Sync {
    /// With what the call fails, if it does.
    fn fails(&self, call: &Considered<'_>) -> Option<Failure>;
    /// Whether the world in which it is made is only simulated.
    fn simulates(&self, _call: &Considered<'_>) -> bool {
        true
    }
    /// The time that a call on this resource waits by, where it is not that of the run.
    fn clock(&self, _kind: &str, _label: &str) -> Option<Clock> {
        None
    }
    /// What the script says in a call that changes something, for whom it concerns.
    fn says(&self, _arguments: &dyn Fn() -> Value) {}
    /// What becomes of the answers of calls that look, where those of another world are wanted.
    fn answers(&self) -> Option<fn(Value) -> Value> {
        None
    }
    /// What only the changed world could say is taken to be as the script wants it.
    fn assumed(&self, call: &Considered<'_>);
}

/// `None`: the simulated driver has the answer.
pub(super) fn decided<O: Operation>(
    fate: &dyn Fate,
    place: &Place,
    sequence: u32,
    operation: &O,
    half: &Half<O>,
) -> Option<Result<O::Output, Failure>> {
    use super::class::Class;
    let call = Considered {
        place,
        sequence,
        operation: O::NAME,
        kind: O::On::NAME,
        label: operation.label(),
        changes: O::Class::CHANGES,
        right: O::RIGHT,
    };
    let failure = fate.fails(&call);
    if O::Class::CHANGES && O::RIGHT.is_some() {
        fate.says(&|| allowance::kept(again::says(operation)));
    }
    if let Some(failure) = failure {
        return Some(Err(failure));
    }
    if !fate.simulates(&call) {
        return None;
    }
    let answer = operation.assume(half)?;
    if answer.is_ok() {
        fate.assumed(&call);
    }
    Some(answer)
}

/// What a call that looks has seen, or what it would have seen in another world.
pub(super) fn seen<O: Operation>(
    fate: Option<&dyn Fate>,
    result: Result<O::Output, Failure>,
) -> Result<O::Output, Failure> {
    let otherwise = fate.filter(|_| O::RIGHT.is_some()).and_then(Fate::answers);
    let (Some(otherwise), Ok(output)) = (otherwise, &result) else { return result };
    let other = serde_json::to_value(output).ok().map(otherwise);
    // Where it can be nothing else, it is that.
    other.and_then(|other| O::Output::deserialize(other).ok()).map_or(result, Ok)
}
