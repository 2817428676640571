//! How services and databases stand, from what they were told last. Nobody looks at them here.
use super::facts::{Standing, State};
use crate::journal::Request;
use std::collections::BTreeMap;

#[derive(Default)]
pub struct Standings(BTreeMap<String, (State, bool)>);

impl Standings {
    /// From here on it is this run.
    pub fn now(&mut self) {
        for (_, by_this_run) in self.0.values_mut() {
            *by_this_run = false;
        }
    }

    pub fn begun(&mut self, request: &Request) {
        if wanted(&request.operation).is_some() {
            self.0.insert(request.resource.clone(), (State::Unknown, true));
        }
    }

    pub fn ended(&mut self, request: &Request, done: bool) {
        if let Some(state) = wanted(&request.operation) {
            self.0.insert(request.resource.clone(), (if done { state } else { State::Unknown }, true));
        }
    }

    pub fn list(&self) -> Vec<Standing> {
        let standing = |(resource, (state, by_this_run)): (&String, &(State, bool))| Standing {
            resource: resource.clone(),
            state: *state,
            by_this_run: *by_this_run,
        };
        self.0.iter().map(standing).collect()
    }
}

fn wanted(operation: &str) -> Option<State> {
    match operation {
        "service.start" | "service.restart" => Some(State::Started),
        "service.stop" => Some(State::Stopped),
        "database.fence" => Some(State::Fenced),
        "database.unfence" => Some(State::Unfenced),
        _ => None,
    }
}
