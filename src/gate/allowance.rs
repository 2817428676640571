//! What a plan that was approved leaves a step to ask for.
use crate::journal::{Approved, Place};
use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

/// Of one attempt: how often each operation on each label may still be asked for.
pub struct Allowance {
    left: Mutex<BTreeMap<(String, String), usize>>,
    /// Going back is never stopped by an approval.
    pub blocks: bool,
}

impl Allowance {
    pub fn of(approved: &Approved, place: &Place) -> Self {
        let here = |step: &&crate::journal::ApprovedStep| {
            step.phase == place.phase && step.rolled_back == place.rolled_back && step.name == place.step
        };
        let mut left: BTreeMap<(String, String), usize> = BTreeMap::new();
        for planned in approved.steps.iter().filter(here).flat_map(|step| &step.operations) {
            *left.entry((planned.operation.clone(), planned.label.clone())).or_default() += 1;
        }
        Self { left: Mutex::new(left), blocks: !place.rolled_back }
    }

    /// Whether the plan has it. What only looks may be asked for more often than planned, and by a script that plans at will.
    pub(super) fn takes(&self, place: &Place, operation: &str, label: &str, changes: bool) -> bool {
        if !changes && place.step.is_empty() {
            return true;
        }
        let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        match left.get_mut(&(operation.to_owned(), label.to_owned())) {
            Some(_) if !changes => true,
            Some(times) if *times > 0 => {
                *times -= 1;
                true
            }
            _ => false,
        }
    }
}
