use super::answer::{Measured, area, brief, came_back, judge, read, title};
use crate::{
    capability::MAX_TIME,
    condition::{Condition, Words},
    gate::{Operation, class},
    resource::{
        Area, CallCtx, Failure, FailureKind, Probe, Reading, Right, Ruling, Verdict,
        probe::{Observer, Response},
    },
};
use serde::Serialize;
use std::time::{Duration, Instant};

/// For what an operation does besides waiting for its own time: the last request, a slow connection.
const SLACK: Duration = Duration::from_secs(60);

#[derive(Serialize)]
pub struct Get {
    pub probe: String,
    pub path: String,
}
impl Operation for Get {
    const NAME: &'static str = "probe.get";
    const RIGHT: Option<Right> = Some(Right::Get);
    type On = Probe;
    type Class = class::Observe;
    type Output = Response;
    fn label(&self) -> &str {
        &self.probe
    }
    async fn execute(&self, probe: &Observer, call: &CallCtx) -> Result<Response, Failure> {
        let mut response = probe.get(&self.path, call).await?;
        // A script never sees it, and the journal is no place for a session.
        response.headers.remove("set-cookie");
        Ok(response)
    }
}

#[derive(Serialize)]
pub struct Check {
    pub probe: String,
    pub path: String,
    pub that: String,
}
impl Operation for Check {
    const NAME: &'static str = "probe.check";
    const RIGHT: Option<Right> = Some(Right::Get);
    type On = Probe;
    type Class = class::Observe;
    type Output = Verdict;
    fn label(&self) -> &str {
        &self.probe
    }
    fn assume(&self, _: &Observer) -> Option<Result<Verdict, Failure>> {
        Some(read(&self.that, &Words::answer()).map(|that| Verdict::assumed(area(&that), title(&self.path, &that))))
    }
    async fn execute(&self, probe: &Observer, call: &CallCtx) -> Result<Verdict, Failure> {
        let condition = read(&self.that, &Words::answer())?;
        let title = title(&self.path, &condition);
        let response = match probe.get(&self.path, call).await {
            Ok(response) => response,
            Err(failure) => return Err(Failure::new(failure.kind, format!("{title}: {}", failure.message))),
        };
        let evaluation = judge(&condition, &response);
        Ok(Verdict {
            area: area(&condition),
            title,
            result: evaluation.outcome().into(),
            detail: came_back(&evaluation, &response),
            readings: Reading::of(&evaluation),
        })
    }
}

#[derive(Serialize)]
pub struct Until {
    pub probe: String,
    pub path: String,
    pub that: String,
    /// seconds
    pub within: u32,
}
impl Operation for Until {
    const NAME: &'static str = "probe.until";
    const LASTS: bool = true;
    const RIGHT: Option<Right> = Some(Right::Get);
    type On = Probe;
    type Class = class::Observe;
    type Output = Verdict;
    fn label(&self) -> &str {
        &self.probe
    }
    fn deadline(&self, _: Duration) -> Duration {
        Duration::from_secs(self.within.into()) + SLACK
    }
    fn assume(&self, _: &Observer) -> Option<Result<Verdict, Failure>> {
        let that = time("within", self.within).and_then(|_| read(&self.that, &Words::answer()));
        Some(that.map(|that| Verdict::assumed(area(&that), title(&self.path, &that))))
    }
    async fn execute(&self, probe: &Observer, call: &CallCtx) -> Result<Verdict, Failure> {
        const FIRST_PAUSE: Duration = Duration::from_millis(50);
        const LONGEST_PAUSE: Duration = Duration::from_secs(2);
        let condition = read(&self.that, &Words::answer())?;
        let within = time("within", self.within)?;
        let (began, mut pause) = (call.clock.now(), FIRST_PAUSE);
        let end = began + within.saturating_sub(call.since_earlier());
        let verdict = |result, detail, readings| Verdict {
            area: area(&condition),
            title: title(&self.path, &condition),
            result,
            detail,
            readings,
        };
        loop {
            // Even a product that hangs is not waited for much longer than the script wants.
            let request = CallCtx {
                deadline: call.deadline.min(end.max(Instant::now() + Duration::from_secs(1))),
                ..call.clone()
            };
            let (said, readings) = match probe.get(&self.path, &request).await {
                Ok(response) => {
                    let evaluation = judge(&condition, &response);
                    let (said, readings) = (came_back(&evaluation, &response), Reading::of(&evaluation));
                    if Ruling::from(evaluation.outcome()) == Ruling::Passed {
                        let said = format!(
                            "{said}, after {:.1} s",
                            (call.since_earlier().max(call.clock.now() - began)).as_secs_f64()
                        );
                        return Ok(verdict(Ruling::Passed, said, readings));
                    }
                    (said, readings)
                }
                Err(Failure { kind: FailureKind::Unavailable | FailureKind::TimedOut, message, .. }) => {
                    (message, Vec::new())
                }
                Err(failure) => return Err(failure),
            };
            let left = end.saturating_duration_since(call.clock.now());
            call.progress(&said, within.saturating_sub(left).as_secs(), within.as_secs());
            if left.is_zero() {
                let said = format!("not within {} s; at last: {said}", self.within);
                return Ok(verdict(Ruling::TimedOut, said, readings));
            }
            tokio::select! {
                biased;
                () = call.cancel.cancelled() => return Err(Failure::unavailable("cancelled")),
                () = call.clock.sleep(pause.min(left)) => {}
            }
            pause = (pause * 3 / 2).min(LONGEST_PAUSE);
        }
    }
}

#[derive(Serialize)]
pub struct CheckLoad {
    pub probe: String,
    pub path: String,
    pub clients: u32,
    /// seconds
    pub time: u32,
    pub that: String,
}
impl CheckLoad {
    fn title(&self, condition: &Condition) -> String {
        let (path, that) = (brief(&self.path), brief(&condition.to_string()));
        format!("GET {path} by {} clients for {} s: {that}", self.clients, self.time)
    }
}
impl Operation for CheckLoad {
    const NAME: &'static str = "probe.check-load";
    const RIGHT: Option<Right> = Some(Right::Load);
    type On = Probe;
    type Class = class::Observe;
    type Output = Verdict;
    fn label(&self) -> &str {
        &self.probe
    }
    fn deadline(&self, _: Duration) -> Duration {
        Duration::from_secs(self.time.into()) + SLACK
    }
    fn assume(&self, _: &Observer) -> Option<Result<Verdict, Failure>> {
        let that = time("time", self.time).and_then(|_| read(&self.that, &Words::load()));
        Some(that.map(|that| Verdict::assumed(Area::Performance, self.title(&that))))
    }
    async fn execute(&self, probe: &Observer, call: &CallCtx) -> Result<Verdict, Failure> {
        let condition = read(&self.that, &Words::load())?;
        let sample = probe.load(&self.path, self.clients, time("time", self.time)?, call).await?;
        let measured = Measured(&sample);
        let evaluation = condition.evaluate(&measured);
        Ok(Verdict {
            area: Area::Performance,
            title: self.title(&condition),
            result: evaluation.outcome().into(),
            detail: format!("{}; {} requests, {} errors", evaluation.explain(), sample.requests, sample.errors),
            readings: measured.readings(&evaluation),
        })
    }
}

#[derive(Serialize)]
pub struct Tcp {
    pub probe: String,
}
impl Tcp {
    fn title(&self) -> String {
        format!("{} accepts connections", self.probe)
    }
}
impl Operation for Tcp {
    const NAME: &'static str = "probe.tcp";
    const RIGHT: Option<Right> = Some(Right::Get);
    type On = Probe;
    type Class = class::Observe;
    type Output = Verdict;
    fn label(&self) -> &str {
        &self.probe
    }
    fn assume(&self, _: &Observer) -> Option<Result<Verdict, Failure>> {
        Some(Ok(Verdict::assumed(Area::Functional, self.title())))
    }
    async fn execute(&self, probe: &Observer, call: &CallCtx) -> Result<Verdict, Failure> {
        let (result, detail) = match probe.connect(call).await {
            Ok(time) => (Ruling::Passed, format!("accepted after {:.1} ms", time.as_secs_f64() * 1000.0)),
            Err(Failure { kind: FailureKind::Unavailable, message, .. }) => (Ruling::Failed, message),
            Err(failure) => return Err(failure),
        };
        Ok(Verdict { area: Area::Functional, title: self.title(), result, detail, readings: Vec::new() })
    }
}

fn time(what: &str, seconds: u32) -> Result<Duration, Failure> {
    match seconds {
        0..=MAX_TIME => Ok(Duration::from_secs(seconds.into())),
        _ => Err(Failure::invalid(format!("`{what}` is at most {MAX_TIME} seconds"))),
    }
}
