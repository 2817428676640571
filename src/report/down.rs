//! How long services were down.
use super::{facts::Down, fold::moment, news::output};
use crate::{
    journal::{Place, Recorded, RunId},
    resource::{Failure, Ruling, Verdict},
};
use serde_json::Value;
use std::collections::BTreeMap;

#[derive(Clone)]
struct Outage {
    from: i64,
    /// Started again by this attempt of a step at this moment; whether it answers is not known yet.
    started: Option<(RunId, Place, i64)>,
}

/// Reads the calls that stop and start services; see `Down` for what it counts.
#[derive(Default)]
pub struct Clock {
    down: BTreeMap<String, Outage>,
    windows: Vec<(String, i64, Option<i64>)>,
}

impl Clock {
    /// What was over before this run is of no interest to it.
    pub fn now(&mut self) {
        self.windows.clear();
    }

    pub fn changed(&mut self, r: &Recorded, operation: &str, resource: &str, began: i64, done: bool) {
        if !done {
            return;
        }
        let stops = matches!(operation, "service.stop" | "service.restart");
        let starts = matches!(operation, "service.start" | "service.restart");
        if stops {
            let outage = self.down.entry(resource.to_owned()).or_insert(Outage { from: began, started: None });
            outage.started = None;
        }
        if starts && let Some(outage) = self.down.get_mut(resource) {
            outage.started = Some((r.run, r.place.clone(), r.at));
        }
    }

    /// A `probe.until`: what this step has started answers, or does not.
    pub fn asked(&mut self, r: &Recorded, result: &Result<Value, Failure>) {
        let verdict = result.as_ref().ok().and_then(output::<Verdict>);
        let answers = verdict.is_some_and(|v| v.result == Ruling::Passed);
        let of_step = |started: &Option<(RunId, Place, i64)>| {
            started.as_ref().is_some_and(|(run, place, _)| *run == r.run && *place == r.place)
        };
        if answers {
            self.over(|outage| of_step(&outage.started).then_some(r.at));
        } else {
            for outage in self.down.values_mut().filter(|outage| of_step(&outage.started)) {
                outage.started = None;
            }
        }
    }

    /// Nobody asked whether it answers: then the start has to do.
    pub fn step_ended(&mut self, r: &Recorded) {
        self.over(|outage| {
            let (run, place, at) = outage.started.as_ref()?;
            (*run == r.run && *place == r.place).then_some(*at)
        });
    }

    fn over(&mut self, end: impl Fn(&Outage) -> Option<i64>) {
        let windows = &mut self.windows;
        self.down.retain(|resource, outage| match end(outage) {
            Some(until) => {
                windows.push((resource.clone(), outage.from, Some(until)));
                false
            }
            None => true,
        });
    }

    /// Within this run, in their order; what an earlier run stopped counts from there.
    pub fn windows(mut self, started: i64, last: i64) -> Vec<Down> {
        self.over(|outage| outage.started.as_ref().map(|(_, _, at)| *at));
        let still = self.down.into_iter().map(|(resource, outage)| (resource, outage.from, None));
        let mut windows: Vec<_> = self.windows.into_iter().chain(still).collect();
        windows.retain(|(_, _, until)| until.is_none_or(|until| until >= started));
        windows.sort_by(|a, b| (a.1, &a.0).cmp(&(b.1, &b.0)));
        let down = |(resource, from, until): (String, i64, Option<i64>)| {
            let millis = u64::try_from(until.unwrap_or(last).saturating_sub(from)).unwrap_or(0);
            Down { resource, from: moment(from), until: until.map(moment), millis }
        };
        windows.into_iter().map(down).collect()
    }
}
