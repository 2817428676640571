//! From entries to facts, in one pass in their order.
use super::{
    down::Clock,
    facts::{Approval, Attempt, Check, Deed, Denied, FORMAT, Line, Phase, Progress, Report, State, Step},
    metrics::Metrics,
    news::{News, is_check, output},
    point::Point,
    standing::Standings,
    text,
};
use crate::{
    journal::{Ending, Entry, Header, Level, Place, Recorded, Request, Risk, RunId},
    resource::{Failure, Verdict},
};
use jiff::Timestamp;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet, HashMap};

pub fn moment(at: i64) -> Timestamp {
    Timestamp::from_millisecond(at).unwrap_or(if at < 0 { Timestamp::MIN } else { Timestamp::MAX })
}

fn millis(from: i64, until: i64) -> u64 {
    u64::try_from(until.saturating_sub(from)).unwrap_or(0)
}

/// An operation whose outcome has not been read yet.
struct Open {
    request: Request,
    at: i64,
    number: i64,
}

#[derive(Default)]
pub struct Fold {
    run: RunId,
    header: Header,
    started: i64,
    last: i64,
    ending: Option<Ending>,
    risks: Vec<Risk>,
    phases: Vec<Phase>,
    spans: HashMap<(String, bool), (i64, i64)>,
    news: HashMap<Place, News>,
    checks: Vec<Check>,
    metrics: Metrics,
    point: Point,
    clock: Clock,
    standings: Standings,
    open: BTreeMap<(RunId, Place, u32), Open>,
    unclear: Vec<Deed>,
    denied: Vec<Denied>,
    said: Vec<Line>,
    log: Vec<Line>,
    notes: Vec<Line>,
    approvals: Vec<Approval>,
}

/// What an earlier run left is only looked at as far as it bears on this one.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Whose {
    Own,
    /// of the same restore point
    Point,
    Other,
}

impl Fold {
    pub fn of(entries: &[Recorded], earlier: &[Recorded]) -> Report {
        let mut fold = Self::default();
        for r in entries {
            if let Entry::RunStarted(header) = &r.entry {
                (fold.run, fold.header, fold.started) = (r.run, header.clone(), r.at);
            }
        }
        let point = if fold.header.restore_point == 0 { fold.run } else { fold.header.restore_point };
        fold.point = Point::of(point);
        let own = fold.run;
        let last = entries.last().map_or(i64::MAX, |r| r.id);
        let mut of_point = BTreeSet::from([point]);
        for r in earlier.iter().filter(|r| r.run != own && r.id <= last) {
            if matches!(&r.entry, Entry::RunStarted(header) if header.restore_point == point) {
                of_point.insert(r.run);
            }
            fold.entry(r, if of_point.contains(&r.run) { Whose::Point } else { Whose::Other });
        }
        fold.standings.now();
        fold.clock.now();
        for r in entries {
            fold.last = fold.last.max(r.at);
            fold.entry(r, Whose::Own);
        }
        fold.report()
    }

    fn entry(&mut self, r: &Recorded, whose: Whose) {
        let own = whose == Whose::Own;
        self.point.entry(r, whose != Whose::Other);
        if own {
            self.span(r);
        }
        match &r.entry {
            Entry::RunEnded(ending) if own => self.ending = Some(ending.clone()),
            Entry::RunResumed(resumption) if own => {
                self.ending = None;
                let without = resumption.skip.iter().map(|step| format!(", without {step}")).collect::<String>();
                self.said.push(line(r, "info", &format!("goes on{without}")));
            }
            Entry::TurnedBack { because } if own => {
                self.said.push(line(r, "warn", &format!("rolling back, because {because}")));
            }
            Entry::Decided { done, by } if own => {
                let what = if *done { "has happened" } else { "has not happened" };
                let operation = self.open.get(&(r.run, r.place.clone(), r.seq)).map(|o| o.request.operation.clone());
                let text = format!("{by} says that {} {what}", operation.unwrap_or_default());
                self.said.push(line(r, "warn", &text));
            }
            Entry::Assessed { risks } if own => self.risks.clone_from(risks),
            Entry::Planned { steps } if own => self.planned(&r.place, steps),
            Entry::StepStarted if own => self.step_started(r),
            Entry::StepEnded { result, millis, .. } => {
                self.clock.step_ended(r);
                if own {
                    self.step_ended(r, result.as_ref().err(), *millis);
                }
            }
            Entry::Denied { operation, label, right } if own => self.denied.push(Denied {
                at: moment(r.at),
                place: r.place.clone(),
                operation: operation.clone(),
                label: label.clone(),
                right: right.clone(),
            }),
            Entry::Printed { text } if own => {
                let lines = text.lines().filter(|line| !line.trim().is_empty());
                self.log.extend(lines.map(|text| line(r, "info", text)));
            }
            Entry::Said { level, text } if own => {
                let level = match level {
                    Level::Info => "info",
                    Level::Warn => "warn",
                    Level::Error => "error",
                };
                self.said.push(line(r, level, text));
            }
            Entry::Told { channel, event, result, .. } if own => {
                let channel = text::line(channel, 80);
                match result {
                    Ok(()) => self.said.push(line(r, "info", &format!("channel {channel} was told: {event}"))),
                    Err(failure) => {
                        let text = format!("channel {channel} could not be told ({event}): {}", failure.message);
                        self.said.push(line(r, "warn", &text));
                    }
                }
            }
            Entry::Intent(request) => {
                if request.class != "observe" {
                    self.standings.begun(request);
                }
                let open = Open { request: request.clone(), at: r.at, number: r.id };
                self.open.insert((r.run, r.place.clone(), r.seq), open);
            }
            Entry::Outcome { result, millis } => {
                let open = self.open.remove(&(r.run, r.place.clone(), r.seq));
                if let Some(looked) = open.as_ref().filter(|open| open.request.class == "observe") {
                    self.observed(r, &looked.request, result, *millis, whose);
                } else if let Some(open) = open {
                    self.clock.changed(r, &open.request.operation, &open.request.resource, open.at, result.is_ok());
                    self.standings.ended(&open.request, result.is_ok());
                    self.outcome(r, open.at, &open.request, result, *millis, whose);
                    if own {
                        let deed = deed(r, &open, Some(*millis), result.as_ref().err());
                        self.deed(&r.place, deed);
                    }
                }
            }
            Entry::Observed { request, result, millis } => self.observed(r, request, result, *millis, whose),
            _ => {}
        }
    }

    fn observed(
        &mut self,
        r: &Recorded,
        request: &Request,
        result: &Result<Value, Failure>,
        millis: u64,
        whose: Whose,
    ) {
        if request.operation == "probe.until" {
            self.clock.asked(r, result);
        }
        self.outcome(r, r.at.saturating_sub_unsigned(millis), request, result, millis, whose);
    }

    /// What is told by its outcome, whatever its class.
    fn outcome(
        &mut self,
        r: &Recorded,
        began: i64,
        request: &Request,
        result: &Result<Value, Failure>,
        millis: u64,
        whose: Whose,
    ) {
        if whose == Whose::Own {
            self.news.entry(r.place.clone()).or_default().add(request, result);
            self.told(r, began, request, result, millis);
        }
        if let (Ok(value), true) = (result, whose != Whose::Other) {
            self.point.outcome(r, request, value, whose == Whose::Own);
            if request.operation == "metrics.baseline" {
                self.metrics.baseline(request, value);
            }
        }
    }

    fn told(&mut self, r: &Recorded, began: i64, request: &Request, result: &Result<Value, Failure>, millis: u64) {
        let field = |name: &str| request.request.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        match request.operation.as_str() {
            "log.debug" | "log.info" | "log.warn" => {
                let level = request.operation.trim_start_matches("log.");
                self.log.push(line(r, level, &field("message")));
            }
            "report.note" => self.notes.push(line(r, "info", &field("text"))),
            "approval.ask" => self.approvals.push(Approval {
                at: moment(r.at),
                place: r.place.clone(),
                question: field("question"),
                role: field("role"),
                answer: match result {
                    Ok(who) => Ok(who.as_str().unwrap_or_default().to_owned()),
                    Err(failure) => Err(failure.clone()),
                },
            }),
            operation if is_check(operation) => self.check(r, request, result, millis),
            _ if request.class == "observe" => {
                if let (Err(failure), Some(attempt)) = (result, self.attempt(&r.place)) {
                    let open = Open { request: request.clone(), at: began, number: r.id };
                    let deed = deed(r, &open, Some(millis), Some(failure));
                    attempt.failed_looks.push(deed);
                }
            }
            _ => {}
        }
    }

    fn check(&mut self, r: &Recorded, request: &Request, result: &Result<Value, Failure>, millis: u64) {
        let verdict = result.as_ref().ok().and_then(output::<Verdict>);
        if let (Some(verdict), true) = (&verdict, request.operation.starts_with("metrics.")) {
            self.metrics.seen(&r.place, &request.resource, verdict);
        }
        let (title, detail) = match (&verdict, result) {
            (Some(verdict), _) => (verdict.title.clone(), verdict.detail.clone()),
            (None, Err(failure)) => (plainly(request), failure.to_string()),
            (None, Ok(_)) => (plainly(request), "its outcome is no verdict".to_owned()),
        };
        self.checks.push(Check {
            at: moment(r.at),
            place: r.place.clone(),
            operation: request.operation.clone(),
            resource: request.resource.clone(),
            title,
            area: verdict.as_ref().map(|v| v.area),
            result: verdict.as_ref().map(|v| v.result),
            detail,
            readings: verdict.map(|v| v.readings).unwrap_or_default(),
            millis,
        });
    }

    fn span(&mut self, r: &Recorded) {
        // From the first step or deed to the last entry; planning ahead is not part of it.
        if r.place.phase.is_empty() || matches!(r.entry, Entry::Planned { .. }) {
            return;
        }
        let began = matches!(r.entry, Entry::StepStarted | Entry::Intent(_)) || r.place.phase == "assess";
        let key = (r.place.phase.clone(), r.place.rolled_back);
        if began {
            self.phase(&r.place);
            self.spans.entry(key).or_insert((r.at, r.at)).1 = r.at;
        } else if let Some(span) = self.spans.get_mut(&key) {
            span.1 = r.at;
        }
    }

    fn phase(&mut self, place: &Place) -> &mut Phase {
        let same = |p: &Phase| p.name == place.phase && p.rolled_back == place.rolled_back;
        let position = self.phases.iter().position(same).unwrap_or_else(|| {
            self.phases.push(Phase {
                name: place.phase.clone(),
                rolled_back: place.rolled_back,
                started: None,
                millis: 0,
                steps: Vec::new(),
                deeds: Vec::new(),
            });
            self.phases.len() - 1
        });
        &mut self.phases[position]
    }

    /// A phase may be planned again; the last plan counts.
    fn planned(&mut self, place: &Place, steps: &[crate::journal::Step]) {
        let phase = self.phase(place);
        let mut known: Vec<Step> = std::mem::take(&mut phase.steps);
        for step in steps {
            let attempts = match known.iter().position(|k| k.name == step.name) {
                Some(position) => known.remove(position).attempts,
                None => Vec::new(),
            };
            phase.steps.push(Step {
                name: step.name.clone(),
                title: step.title.clone(),
                progress: Progress::NotBegun,
                estimate_seconds: step.estimate_seconds,
                measured_runs: step.measured_runs,
                roles: step.roles.clone(),
                after: step.after.clone(),
                attempts_allowed: step.attempts,
                attempts,
            });
        }
        phase.steps.extend(known.into_iter().filter(|step| !step.attempts.is_empty()));
    }

    fn step(&mut self, place: &Place) -> &mut Step {
        let phase = self.phase(place);
        let position = phase.steps.iter().position(|s| s.name == place.step).unwrap_or_else(|| {
            phase.steps.push(Step {
                name: place.step.clone(),
                title: String::new(),
                progress: Progress::NotBegun,
                estimate_seconds: 0,
                measured_runs: 0,
                roles: Vec::new(),
                after: Vec::new(),
                attempts_allowed: 1,
                attempts: Vec::new(),
            });
            phase.steps.len() - 1
        });
        &mut phase.steps[position]
    }

    fn attempt(&mut self, place: &Place) -> Option<&mut Attempt> {
        if place.step.is_empty() {
            return None;
        }
        self.step(place).attempts.iter_mut().rfind(|a| a.attempt == place.attempt)
    }

    fn step_started(&mut self, r: &Recorded) {
        let step = self.step(&r.place);
        step.attempts.push(Attempt {
            attempt: r.place.attempt,
            started: moment(r.at),
            millis: None,
            failure: None,
            news: String::new(),
            deeds: Vec::new(),
            failed_looks: Vec::new(),
        });
    }

    fn step_ended(&mut self, r: &Recorded, failure: Option<&Failure>, millis: u64) {
        if let Some(attempt) = self.attempt(&r.place) {
            attempt.millis = Some(millis);
            attempt.failure = failure.cloned();
        }
    }

    fn deed(&mut self, place: &Place, deed: Deed) {
        match self.attempt(place) {
            Some(attempt) => attempt.deeds.push(deed),
            None => self.phase(place).deeds.push(deed),
        }
    }

    fn report(mut self) -> Report {
        let unfinished = std::mem::take(&mut self.open).into_iter().filter(|((run, ..), _)| *run == self.run);
        let mut unfinished: Vec<_> = unfinished.filter(|(_, open)| open.request.class != "observe").collect();
        unfinished.sort_by_key(|(_, open)| open.at);
        for ((run, place, seq), open) in unfinished {
            self.standings.ended(&open.request, false);
            let entry = Entry::StepStarted;
            let recorded = Recorded { id: 0, run, at: open.at, place: place.clone(), seq, entry };
            let deed = deed(&recorded, &open, None, None);
            self.deed(&place, deed.clone());
            self.unclear.push(deed);
        }
        let mut phases = std::mem::take(&mut self.phases);
        for phase in &mut phases {
            self.close(phase);
        }
        phases.sort_by_key(|p| (p.started.is_none(), p.started));
        let mut report = Report {
            format: FORMAT,
            run: self.run,
            started: moment(self.started),
            until: moment(self.last),
            risks: self.risks,
            phases,
            checks: self.checks,
            metrics: self.metrics.list(),
            one_cut: self.point.one_cut(),
            restored: std::mem::take(&mut self.point.restored),
            freed: std::mem::take(&mut self.point.freed),
            copies: self.point.copies(),
            down: self.clock.windows(self.started, self.last),
            standing: self.standings.list(),
            unclear: self.unclear,
            denied: self.denied,
            said: self.said,
            log: self.log,
            notes: self.notes,
            approvals: self.approvals,
            left: Vec::new(),
            half_way: None,
            header: self.header,
            ending: self.ending,
        };
        report.half_way = super::half_way::of(&report);
        report.left = super::left::of(&report);
        report
    }

    fn close(&self, phase: &mut Phase) {
        if let Some((from, until)) = self.spans.get(&(phase.name.clone(), phase.rolled_back)) {
            phase.started = Some(moment(*from));
            phase.millis = millis(*from, *until);
        }
        for step in &mut phase.steps {
            for attempt in &mut step.attempts {
                let place = Place::new(&phase.name, phase.rolled_back, &step.name, attempt.attempt);
                attempt.news = self.news.get(&place).map(News::text).unwrap_or_default();
            }
            step.progress = match step.attempts.last() {
                None => Progress::NotBegun,
                Some(Attempt { millis: None, .. }) => Progress::Begun,
                Some(Attempt { failure: None, .. }) => Progress::Done,
                Some(_) => Progress::Failed,
            };
        }
    }
}

impl Report {
    pub fn of(entries: &[Recorded], earlier: &[Recorded]) -> Self {
        Fold::of(entries, earlier)
    }

    /// What is known of a resource from what it was told last.
    pub fn state(&self, resource: &str) -> Option<State> {
        self.standing.iter().find(|s| s.resource == resource).map(|s| s.state)
    }

    pub fn down_millis(&self) -> u64 {
        self.down.iter().map(|d| d.millis).fold(0, u64::saturating_add)
    }
}

fn line(r: &Recorded, level: &str, text: &str) -> Line {
    Line { at: moment(r.at), place: r.place.clone(), level: level.to_owned(), text: text.to_owned() }
}

fn deed(r: &Recorded, begun: &Open, millis: Option<u64>, failure: Option<&Failure>) -> Deed {
    let request = &begun.request;
    Deed {
        at: moment(begun.at),
        number: begun.number,
        place: r.place.clone(),
        operation: request.operation.clone(),
        class: request.class.clone(),
        label: request.label.clone(),
        resource: request.resource.clone(),
        detail: detail(request),
        millis,
        failure: failure.cloned(),
    }
}

/// The plain values of a request, without the label.
fn detail(request: &Request) -> String {
    let Some(fields) = request.request.as_object() else { return String::new() };
    let value = |(name, value): (&String, &Value)| match value {
        Value::String(text) if *text == request.label => None,
        Value::String(text) => Some(format!("{name} {}", text::line(text, 120))),
        Value::Number(number) => Some(format!("{name} {number}")),
        _ => None,
    };
    text::line(&fields.iter().filter_map(value).collect::<Vec<_>>().join(", "), 300)
}

/// A check that gave no verdict.
fn plainly(request: &Request) -> String {
    let detail = detail(request);
    let gap = if detail.is_empty() { "" } else { ", " };
    format!("{} of {}{gap}{detail}", request.operation, text::resource(&request.resource))
}
