//! What an answer says, and whether it counts.
use super::{Answered, Found, Person, Way, answered};
use serde::Deserialize;
use std::collections::BTreeMap;

/// Bytes; what is longer is no answer.
pub const MAX: usize = 4 << 10;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Answer {
    /// The id of the question.
    pub question: String,
    pub run: u64,
    pub answer: Word,
    pub by: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Word {
    Yes,
    No,
}

impl Answer {
    /// Whether whoever it names may say it. `run` and `role` are those of the question; of a file, `owner` says whose it is.
    pub fn counts(&self, run: u64, role: &str, people: &BTreeMap<String, Person>, owner: Option<u32>) -> Found {
        let by = &self.by;
        let fine = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if by.is_empty() || by.len() > 64 || !by.chars().all(fine) {
            return Err("it names nobody: `by` has 1 to 64 letters, digits, `-`, `_` and `.`".to_owned());
        }
        if self.run != run {
            return Err(format!("it is for run {}, asked is in run {run}", self.run));
        }
        let person = people.get(by);
        if people.values().any(|person| person.roles.contains(role))
            && !person.is_some_and(|person| person.roles.contains(role))
        {
            return Err(format!("on this site `{by}` does not have the role that is asked for"));
        }
        let Some(owner) = owner else { return Ok(self.by_way(Way::Webhook)) };
        // Who can be these can do all that Backout can.
        let own = [0, rustix::process::geteuid().as_raw()].contains(&owner);
        match person.and_then(|person| person.uid) {
            Some(uid) if uid == owner => Ok(self.by_way(Way::File)),
            _ if own => Ok(self.by_way(Way::File)),
            Some(_) => Err(format!("it belongs to another account than that of `{by}`")),
            None => Err(format!("the site names no account of `{by}`, and it does not belong to Backout's own")),
        }
    }

    fn by_way(&self, way: Way) -> Answered {
        answered(self.answer == Word::Yes, &self.by, way)
    }
}
