//! What goes on, from events: the rows that stay and the rows that live. Writes nothing.
use crate::{
    gate::Event,
    journal::{Entry, Header, Level, Place, Recorded, Request, Step},
    report::{news::News, text},
    resource::{Failure, FailureKind, Ruling, Verdict},
};
use serde::Deserialize;
use serde_json::Value;
use std::collections::HashMap;

/// What a row is about; decides its mark and colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    Started,
    Done,
    Failed,
    /// an attempt that failed and is followed by another
    Again,
    /// what a step that is not over has to tell
    News,
    /// what Backout itself says
    Said,
    Warning,
    /// what the script says
    Log,
    /// not over when the display ended
    Open,
}

/// A line that stays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    pub mark: Mark,
    /// `upgrade/install`; empty for what belongs to no step
    pub name: String,
    pub text: String,
    /// `41 s`
    pub time: String,
}

/// A line that changes as long as its step goes on.
#[derive(Clone, Debug, PartialEq)]
pub struct Live {
    pub name: String,
    pub text: String,
    /// how much of it is done, as far as anybody knows
    pub part: Option<f64>,
    /// `9 m 12 s of 15 m 00 s`
    pub time: String,
}

struct Running {
    place: Place,
    title: String,
    /// milliseconds since 1970
    since: i64,
    estimate: Option<u64>,
    attempts: u32,
    news: News,
    progress: Option<Progress>,
    /// when plain lines last told of it
    told: i64,
    last_told: String,
}

struct Progress {
    text: String,
    part: Option<f64>,
}

/// Between two pieces of plain news of one step.
const PATIENCE: i64 = 10_000;
/// Texts longer than this are cut, however wide the terminal.
const MAX: usize = 600;

pub struct Board {
    verbose: u8,
    clock: Box<dyn Fn(i64) -> String + Send>,
    plans: HashMap<(String, bool, String), Step>,
    running: Vec<Running>,
    /// operations without an outcome
    open: HashMap<(Place, u32), Request>,
    lost: u64,
}

/// What the host says when it takes back what it has begun.
fn turned_back(because: &str) -> String {
    format!("backout: rolling back, because {because}")
}

impl Board {
    /// `clock` writes a moment as people on this terminal read it.
    pub fn new(verbose: u8, clock: impl Fn(i64) -> String + Send + 'static) -> Self {
        Self {
            verbose,
            clock: Box::new(clock),
            plans: HashMap::new(),
            running: Vec::new(),
            open: HashMap::new(),
            lost: 0,
        }
    }

    /// The rows that the event is worth.
    pub fn hear(&mut self, event: &Event, now: i64) -> Vec<Row> {
        match event {
            Event::Recorded(recorded) => self.recorded(recorded),
            Event::Progress(work) => {
                self.progress(&work.place, &work.operation, &work.text, work.done, work.total, now);
                Vec::new()
            }
        }
    }

    fn recorded(&mut self, r: &Recorded) -> Vec<Row> {
        match &r.entry {
            Entry::RunStarted(header) => vec![self.run_started(r, header)],
            Entry::Planned { steps } => {
                for step in steps {
                    let key = (r.place.phase.clone(), r.place.rolled_back, step.name.clone());
                    self.plans.insert(key, step.clone());
                }
                Vec::new()
            }
            Entry::StepStarted => {
                self.running(&r.place, r.at);
                let again = if r.place.attempt > 1 { format!("attempt {}", r.place.attempt) } else { String::new() };
                let title = self.plan(&r.place).map(|s| s.title.clone()).unwrap_or_default();
                let parts = [title, again];
                let text = parts.iter().filter(|p| !p.is_empty()).cloned().collect::<Vec<_>>().join(", ");
                vec![row(Mark::Started, &r.place, &text, String::new())]
            }
            Entry::StepEnded { result, millis, .. } => vec![self.step_ended(r, result.as_ref().err(), *millis)],
            Entry::Intent(request) => {
                self.open.insert((r.place.clone(), r.seq), request.clone());
                Vec::new()
            }
            Entry::Outcome { result, millis } => {
                let request = self.open.remove(&(r.place.clone(), r.seq));
                request.map(|request| self.outcome(r, &request, result, *millis)).unwrap_or_default()
            }
            Entry::Observed { request, result, millis } => self.outcome(r, request, result, *millis),
            Entry::Denied { operation, label, right } => {
                let (operation, label) = (text::line(operation, 80), text::line(label, 80));
                let right = text::line(right, 40);
                let text = format!("denied: {operation} on {label} needs the right {right}");
                vec![row(Mark::Warning, &r.place, &text, String::new())]
            }
            // Lines of a log, and shown as such; its place says whose.
            Entry::Printed { text } if self.verbose >= 1 => {
                let lines = text.lines().filter(|line| !line.trim().is_empty());
                lines.map(|line| row(Mark::Log, &r.place, line, String::new())).collect()
            }
            Entry::Said { level, text } => {
                let mark = if *level == Level::Info { Mark::Said } else { Mark::Warning };
                vec![row(mark, &r.place, &format!("backout: {text}"), String::new())]
            }
            Entry::TurnedBack { because } => {
                vec![row(Mark::Warning, &r.place, &turned_back(because), String::new())]
            }
            Entry::RunResumed(resumption) => {
                let skip = resumption.skip.iter().map(|step| format!(", without {}", text::line(step, 140)));
                let text = format!("goes on{}", skip.collect::<String>());
                vec![Row { name: format!("run {}", r.run), ..row(Mark::Said, &r.place, &text, String::new()) }]
            }
            Entry::Decided { done, by } => {
                let (by, what) = (text::line(by, 80), if *done { "has happened" } else { "has not happened" });
                vec![row(Mark::Said, &r.place, &format!("{by} says that it {what}"), String::new())]
            }
            Entry::Told { channel, event, result: Err(failure), .. } => {
                let (channel, why) = (text::line(channel, 80), text::line(&failure.message, 400));
                let text = format!("backout: channel {channel} could not be told ({event}): {why}");
                vec![row(Mark::Warning, &r.place, &text, String::new())]
            }
            Entry::Telling { .. } | Entry::Told { .. } => Vec::new(),
            Entry::RunEnded(_) | Entry::Assessed { .. } | Entry::Evidence { .. } | Entry::Printed { .. } => Vec::new(),
        }
    }

    fn run_started(&self, r: &Recorded, header: &Header) -> Row {
        let package = match (header.package.as_str(), header.from_version.as_str(), header.to_version.as_str()) {
            ("", ..) => String::new(),
            (package, "", "") => package.to_owned(),
            (package, "", to) => format!("{package} {to}"),
            (package, from, to) if header.command == "rollback" => format!("{package} {to} → {from}"),
            (package, from, to) => format!("{package} {from} → {to}"),
        };
        let what = format!("{} {package}", header.command);
        Row {
            mark: Mark::Said,
            name: format!("run {}", r.run),
            text: text::line(&format!("{} on {}", what.trim(), header.host), MAX),
            time: (self.clock)(r.at),
        }
    }

    fn step_ended(&mut self, r: &Recorded, failure: Option<&Failure>, millis: u64) -> Row {
        let position = self.running.iter().position(|s| s.place == r.place);
        let running = position.map(|position| self.running.remove(position));
        let time = text::duration(millis);
        let Some(failure) = failure else {
            let news = running.map(|s| s.news.text()).unwrap_or_default();
            return row(Mark::Done, &r.place, &news, time);
        };
        let attempts = running.map_or(1, |s| s.attempts);
        let again =
            r.place.attempt < attempts && matches!(failure.kind, FailureKind::Unavailable | FailureKind::TimedOut);
        let of = if attempts > 1 { format!(", attempt {} of {attempts}", r.place.attempt) } else { String::new() };
        row(if again { Mark::Again } else { Mark::Failed }, &r.place, &format!("{}{of}", failure.message), time)
    }

    fn outcome(&mut self, r: &Recorded, request: &Request, result: &Result<Value, Failure>, millis: u64) -> Vec<Row> {
        let field = |name: &str| request.request.get(name).and_then(Value::as_str).unwrap_or_default();
        let log = |level: u8, name: &str| {
            let heard = self.verbose >= level;
            heard.then(|| row(Mark::Log, &r.place, field(name), String::new())).into_iter().collect()
        };
        match request.operation.as_str() {
            "log.warn" => return vec![row(Mark::Warning, &r.place, field("message"), String::new())],
            "log.info" => return log(1, "message"),
            "report.note" => return log(1, "text"),
            "log.debug" => return log(2, "message"),
            // Its verdict fails no step by itself, so nothing else would show it.
            "report.check" => {
                let verdict = result.as_ref().ok().and_then(|value| Verdict::deserialize(value).ok());
                if let Some(verdict) = verdict.filter(|v| v.result != Ruling::Passed) {
                    let text = format!("{}: {}", verdict.title, verdict.detail);
                    return vec![row(Mark::Warning, &r.place, &text, String::new())];
                }
            }
            _ => {}
        }
        if let Some(running) = self.running.iter_mut().find(|s| s.place == r.place) {
            running.news.add(request, result);
            running.progress = None;
            return Vec::new();
        }
        // What Backout does by itself stands in no step.
        if !r.place.step.is_empty() || request.class == "observe" {
            return Vec::new();
        }
        let what = format!("{} {}", request.operation, text::resource(&request.resource));
        vec![match result {
            Ok(_) => row(Mark::Done, &r.place, &what, text::duration(millis)),
            Err(failure) => row(Mark::Failed, &r.place, &format!("{what}: {failure}"), text::duration(millis)),
        }]
    }

    fn progress(&mut self, place: &Place, operation: &str, said: &str, done: u64, total: u64, now: i64) {
        if place.step.is_empty() {
            return;
        }
        let part = (total > 0).then(|| (done as f64 / total as f64).clamp(0.0, 1.0));
        let interface = operation.split('.').next().unwrap_or_default();
        let in_bytes = total > 0 && matches!(interface, "backup" | "database" | "files");
        let amount =
            if in_bytes { format!("  {} of {}", text::bytes(done), text::bytes(total)) } else { String::new() };
        let text = format!("{}{amount}", text::line(said, MAX));
        self.running(place, now).progress = Some(Progress { text, part });
    }

    fn plan(&self, place: &Place) -> Option<&Step> {
        self.plans.get(&(place.phase.clone(), place.rolled_back, place.step.clone()))
    }

    /// A step whose beginning was missed is found by what comes after it.
    fn running(&mut self, place: &Place, since: i64) -> &mut Running {
        let known = self.running.iter().position(|s| s.place == *place);
        let position = known.unwrap_or_else(|| {
            let plan = self.plan(place);
            let running = Running {
                place: place.clone(),
                title: plan.map(|p| p.title.clone()).unwrap_or_default(),
                since,
                estimate: plan.map(|p| p.estimate_seconds.saturating_mul(1000)).filter(|e| *e > 0),
                attempts: plan.map_or(1, |p| p.attempts),
                news: News::default(),
                progress: None,
                told: since,
                last_told: String::new(),
            };
            self.running.push(running);
            self.running.len() - 1
        });
        &mut self.running[position]
    }

    /// Events were lost: which steps have ended meanwhile is not known. Said once.
    pub fn lagged(&mut self, lost: u64) -> Vec<Row> {
        self.running.clear();
        self.open.clear();
        let first = self.lost == 0;
        self.lost = self.lost.saturating_add(lost);
        let text = "the display fell behind and leaves out some news; the journal has them all".to_owned();
        first.then_some(Row { mark: Mark::Said, name: String::new(), text, time: String::new() }).into_iter().collect()
    }

    /// The steps that go on, in the order in which they began.
    pub fn live(&self, now: i64) -> Vec<Live> {
        self.running.iter().map(|running| running.live(now)).collect()
    }

    /// For those who get no living lines: what has not been told for a while.
    pub fn plain_news(&mut self, now: i64) -> Vec<Row> {
        let mut rows = Vec::new();
        for running in self.running.iter_mut().filter(|s| now - s.told >= PATIENCE) {
            let live = running.live(now);
            if live.text != running.last_told {
                rows.push(Row { mark: Mark::News, name: live.name, text: live.text.clone(), time: live.time });
                running.last_told = live.text;
            }
            running.told = now;
        }
        rows
    }

    /// Nothing more will be heard.
    pub fn end(&mut self, now: i64) -> Vec<Row> {
        let row = |s: Running| row(Mark::Open, &s.place, "not ended", text::duration(elapsed(s.since, now)));
        self.running.drain(..).map(row).collect()
    }
}

impl Running {
    fn live(&self, now: i64) -> Live {
        let elapsed = elapsed(self.since, now);
        let time = match self.estimate {
            Some(estimate) => format!("{} of {}", text::duration(elapsed), text::duration(estimate)),
            None => text::duration(elapsed),
        };
        let news = || Some(self.news.text()).filter(|text| !text.is_empty());
        let said = self.progress.as_ref().map(|p| p.text.clone()).filter(|text| !text.is_empty());
        let known = self.progress.as_ref().and_then(|p| p.part);
        // An estimate is no promise: a step that takes longer never looks finished.
        let reckoned = self.estimate.map(|estimate| (elapsed as f64 / estimate as f64).min(0.99));
        Live {
            name: name(&self.place),
            text: said.or_else(news).unwrap_or_else(|| text::line(&self.title, MAX)),
            part: known.or(reckoned),
            time,
        }
    }
}

fn elapsed(since: i64, now: i64) -> u64 {
    u64::try_from(now.saturating_sub(since)).unwrap_or(0)
}

fn row(mark: Mark, place: &Place, text: &str, time: String) -> Row {
    Row { mark, name: name(place), text: text::line(text, MAX), time }
}

/// Which verification it is goes without saying: it follows an upgrade or a rollback.
fn name(place: &Place) -> String {
    text::line(&place.title(), 140)
}
