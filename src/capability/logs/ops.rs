use crate::{
    gate::{Operation, class},
    resource::{
        Area, CallCtx, Failure, FailureKind, Resources, Right, Ruling, Service, Verdict,
        process::bounded,
        run::RUN,
        service::{self, Mutator, Observer},
    },
};
use serde::Serialize;

/// The most that a script can look for.
pub const MAX_TEXTS: usize = 32;
pub const MAX_TEXT: usize = 1 << 10;
/// Unwanted lines that a report shows.
const SHOWN: usize = 5;

/// What the run remembers of a service's log.
pub fn mark_of(resources: &Resources, label: &str) -> Option<service::Mark> {
    let id = &resources.service.0.get(label)?.id;
    let run = resources.run.0.get(RUN)?;
    run.access.observer.memory().marks.get(id).cloned()
}

/// Cut to where it is known to be too long, so that the journal keeps no more of it.
fn cut(mut text: String) -> String {
    text.truncate(text.floor_char_boundary(text.len().min(MAX_TEXT + 4)));
    text
}

/// A text that no line can contain would make a check that cannot fail.
fn sought(text: &str) -> Result<(), Failure> {
    if text.is_empty() {
        return Err(Failure::invalid("an empty text is in every line"));
    }
    if text.len() > MAX_TEXT {
        return Err(Failure::invalid(format!("a text to look for has at most {MAX_TEXT} bytes")));
    }
    if text.chars().any(|c| c.is_control() && c != '\t') {
        return Err(Failure::invalid("a text to look for is a part of one line, without control characters"));
    }
    Ok(())
}

const UNMARKED: &str = "there is no mark to look from: call `logs.mark` first";

#[derive(Serialize)]
pub struct Mark {
    pub service: String,
}
impl Operation for Mark {
    const NAME: &'static str = "logs.mark";
    const RIGHT: Option<Right> = Some(Right::Logs);
    type On = Service;
    type Class = class::Idempotent;
    type Output = service::Mark;
    fn label(&self) -> &str {
        &self.service
    }
    fn changes(&self) -> bool {
        false
    }
    fn disturbs(&self) -> bool {
        false
    }
    async fn execute(&self, service: &Mutator, call: &CallCtx) -> Result<service::Mark, Failure> {
        service.mark(call).await
    }
}

#[derive(Serialize)]
pub struct Search {
    pub service: String,
    pub text: String,
    pub since: Option<service::Mark>,
}
impl Search {
    pub fn new(service: String, text: String, since: Option<service::Mark>) -> Self {
        Self { service, text: cut(text), since }
    }
}
impl Operation for Search {
    const NAME: &'static str = "logs.search";
    const GIVEN: &'static [&'static str] = &["since"];
    const RIGHT: Option<Right> = Some(Right::Logs);
    type On = Service;
    type Class = class::Observe;
    type Output = Vec<String>;
    fn label(&self) -> &str {
        &self.service
    }
    async fn execute(&self, service: &Observer, _: &CallCtx) -> Result<Vec<String>, Failure> {
        sought(&self.text)?;
        let since = self.since.as_ref().ok_or_else(|| Failure::inconclusive(UNMARKED))?;
        service.search(since, std::slice::from_ref(&self.text)).await
    }
}

#[derive(Serialize)]
pub struct Check {
    pub service: String,
    pub unwanted: Vec<String>,
    pub since: Option<service::Mark>,
}
impl Check {
    pub fn new(service: String, mut unwanted: Vec<String>, since: Option<service::Mark>) -> Self {
        unwanted.truncate(MAX_TEXTS + 1);
        Self { service, unwanted: unwanted.into_iter().map(cut).collect(), since }
    }
    fn well_said(&self) -> Result<(), Failure> {
        if self.unwanted.is_empty() || self.unwanted.len() > MAX_TEXTS {
            return Err(Failure::invalid(format!("a check looks for 1 to {MAX_TEXTS} texts")));
        }
        self.unwanted.iter().try_for_each(|text| sought(text))
    }
    fn title(&self) -> String {
        let texts: Vec<String> = self.unwanted.iter().map(|text| format!("`{}`", bounded(text, 40))).collect();
        bounded(&format!("the log of {} has no {}", self.service, texts.join(", ")), 300)
    }
}
impl Operation for Check {
    const NAME: &'static str = "logs.check";
    const GIVEN: &'static [&'static str] = &["since"];
    const RIGHT: Option<Right> = Some(Right::Logs);
    type On = Service;
    type Class = class::Observe;
    type Output = Verdict;
    fn label(&self) -> &str {
        &self.service
    }
    fn assume(&self, _: &Observer) -> Option<Result<Verdict, Failure>> {
        if let Err(failure) = self.well_said() {
            return Some(Err(failure));
        }
        // Without a mark there is nothing to look from, whatever the log says.
        self.since.as_ref().map(|_| Ok(Verdict::assumed(Area::Functional, self.title())))
    }
    async fn execute(&self, service: &Observer, _: &CallCtx) -> Result<Verdict, Failure> {
        self.well_said()?;
        let verdict = |result, detail| Verdict {
            area: Area::Functional,
            title: self.title(),
            result,
            detail,
            readings: Vec::new(),
        };
        let Some(since) = &self.since else {
            return Ok(verdict(Ruling::Inconclusive, UNMARKED.to_owned()));
        };
        let found = match service.search(since, &self.unwanted).await {
            Ok(found) => found,
            Err(failure) if failure.kind == FailureKind::Inconclusive => {
                return Ok(verdict(Ruling::Inconclusive, failure.message));
            }
            Err(failure) => return Err(failure),
        };
        if found.is_empty() {
            return Ok(verdict(Ruling::Passed, "no such line since the mark".to_owned()));
        }
        let shown: Vec<String> = found.iter().take(SHOWN).map(|line| bounded(line, 400)).collect();
        let count = match found.len() {
            1 => "one line".to_owned(),
            n if n < service::MAX_LINES => format!("{n} lines"),
            n => format!("{n} lines or more"),
        };
        Ok(verdict(Ruling::Failed, format!("{count} since the mark: {}", shown.join(" | "))))
    }
}
