//! What a plan that was approved leaves a step to ask for.
use crate::journal::{Approved, Place};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

/// What a plan keeps word by word; longer arguments are known by their digest.
const MAX_ARGUMENTS: usize = 4096;

/// What a script says in a call, as plans keep it.
pub(super) fn kept(said: Value) -> Value {
    let text = said.to_string();
    if text.len() <= MAX_ARGUMENTS {
        return said;
    }
    json!({ "bytes": text.len(), "sha256": format!("{:x}", Sha256::digest(text)) })
}

/// What the plan has instead of a call.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Lacks {
    /// It is not in there, or not that often.
    Call,
    /// It says these in it.
    Arguments(Value),
}

/// The arguments with which each operation on each label may still be asked for; `None`: with any.
type Left = BTreeMap<(String, String), Vec<Option<Value>>>;

/// Of one attempt.
pub struct Allowance {
    left: Mutex<Left>,
    /// Going back is never stopped by an approval.
    pub blocks: bool,
}

impl Allowance {
    pub fn of(approved: &Approved, place: &Place) -> Self {
        let here = |step: &&crate::journal::ApprovedStep| {
            step.phase == place.phase && step.rolled_back == place.rolled_back && step.name == place.step
        };
        let mut left = Left::new();
        for planned in approved.steps.iter().filter(here).flat_map(|step| &step.operations) {
            let operation = (planned.operation.clone(), planned.label.clone());
            left.entry(operation).or_default().push(planned.arguments.clone());
        }
        Self { left: Mutex::new(left), blocks: !place.rolled_back }
    }

    /// Whether the plan has it. What changes something is taken as often as it was planned, and with what it said then; what only
    /// looks may be asked for more often, with other words, and by a script that plans at will.
    pub(super) fn takes(
        &self,
        place: &Place,
        operation: &str,
        label: &str,
        changing: Option<&dyn Fn() -> Value>,
    ) -> Result<(), Lacks> {
        if changing.is_none() && place.step.is_empty() {
            return Ok(());
        }
        let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        let planned = left.get_mut(&(operation.to_owned(), label.to_owned())).ok_or(Lacks::Call)?;
        let Some(arguments) = changing else { return Ok(()) };
        let arguments = kept(arguments());
        let same = planned.iter().position(|planned| planned.as_ref() == Some(&arguments));
        match (same.or_else(|| planned.iter().position(Option::is_none)), planned.first()) {
            (Some(at), _) => {
                planned.remove(at);
                Ok(())
            }
            (None, Some(Some(other))) => Err(Lacks::Arguments(other.clone())),
            _ => Err(Lacks::Call),
        }
    }
}
