//! Who decides, where the world or a part of it is simulated, how a call goes.
use super::operation::{Half, Operation};
use crate::{
    journal::Place,
    resource::{Clock, Failure, Kind, Right},
};

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
    if let Some(failure) = fate.fails(&call) {
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
