//! People, as a run asks them.
use super::progress::Display;
use crate::{
    diagnostic::units::show_duration,
    resource::{
        Failure, FailureKind,
        answers::Answers,
        run::{Answered, Approver, Listener, Question, Way},
    },
};
use std::{collections::BTreeMap, time::Duration};
use tokio_util::sync::CancellationToken;

/// Approvals that were given beforehand, else a question on the terminal, and wherever else the site takes answers.
pub struct People {
    pub given: BTreeMap<String, String>,
    pub decisions: BTreeMap<i64, bool>,
    pub display: Display,
    pub cancel: CancellationToken,
    pub answers: Option<Answers>,
    /// How long somebody is asked.
    pub within: Option<Duration>,
}

impl People {
    async fn on_terminal(&self, question: &Question) -> Result<Answered, Failure> {
        let (display, Question { text, role, .. }) = (self.display.clone(), question.clone());
        let moot = CancellationToken::new();
        // A script that is not waiting for the answer any more takes its question back.
        let _back = moot.clone().drop_guard();
        let asked = tokio::task::spawn_blocking(move || display.approval(&text, &role, &moot)).await;
        match asked.map_err(|e| Failure::unavailable(e.to_string()))? {
            Ok(name) => Ok(Answered { yes: name.is_some(), by: name.unwrap_or_default(), way: Way::Terminal }),
            Err(error) => Err(Failure::unavailable(format!("nobody can be asked: {error}"))),
        }
    }

    async fn answer(&self, question: &Question, listener: &dyn Listener) -> Result<Answered, Failure> {
        let Some(answers) = &self.answers else { return self.on_terminal(question).await };
        tokio::select! {
            biased;
            answered = answers.first(question, listener) => Ok(answered),
            // Where there is no terminal, the others are waited for.
            Ok(answered) = self.on_terminal(question) => Ok(answered),
        }
    }
}

#[async_trait::async_trait]
impl Approver for People {
    async fn ask(&self, question: &Question, listener: &dyn Listener) -> Result<Answered, Failure> {
        if let Some(by) = self.given.get(&question.role) {
            return Ok(Answered { yes: true, by: by.clone(), way: Way::Beforehand });
        }
        let answered = self.answer(question, listener);
        let Some(within) = self.within else { return answered.await };
        tokio::time::timeout(within, answered).await.unwrap_or_else(|_| {
            let within = show_duration(within);
            Err(Failure::new(FailureKind::TimedOut, format!("nobody has answered within {within}")))
        })
    }

    fn ways(&self, question: &Question) -> String {
        self.answers.as_ref().map(|answers| answers.ways(question)).unwrap_or_default()
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
