//! People, as a run asks them.
use super::progress::Display;
use crate::resource::{Failure, run::Approver};
use std::collections::BTreeMap;
use tokio_util::sync::CancellationToken;

/// Approvals that were given beforehand, else a question on the terminal.
pub struct People {
    pub given: BTreeMap<String, String>,
    pub decisions: BTreeMap<i64, bool>,
    pub display: Display,
    pub cancel: CancellationToken,
}

#[async_trait::async_trait]
impl Approver for People {
    async fn ask(&self, question: &str, role: &str) -> Result<String, Failure> {
        if let Some(name) = self.given.get(role) {
            return Ok(name.clone());
        }
        let (display, question, role) = (self.display.clone(), question.to_owned(), role.to_owned());
        let moot = CancellationToken::new();
        // A script that is not waiting for the answer any more takes its question back.
        let _back = moot.clone().drop_guard();
        let asked = tokio::task::spawn_blocking(move || display.approval(&question, &role, &moot)).await;
        match asked.map_err(|e| Failure::unavailable(e.to_string()))? {
            Ok(Some(name)) => Ok(name),
            Ok(None) => Err(Failure::denied("it was not approved")),
            Err(error) => Err(Failure::unavailable(format!("nobody can be asked: {error}"))),
        }
    }

    fn knows(&self, role: &str) -> bool {
        self.given.contains_key(role)
    }

    async fn decide(&self, number: i64, doubt: &str) -> Option<(bool, String)> {
        if let Some(done) = self.decisions.get(&number) {
            return Some((*done, "the operator".to_owned()));
        }
        let (display, doubt, moot) = (self.display.clone(), doubt.to_owned(), self.cancel.clone());
        let asked = tokio::task::spawn_blocking(move || display.decision(&doubt, &moot)).await;
        asked.ok().flatten().map(|done| (done, "the operator".to_owned()))
    }
}
