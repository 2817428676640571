//! What a service's own processes use.
use super::{
    Failure, Values, known, only_of_this_machine,
    series::{Pair, Series},
};
use crate::{
    condition::Dimension,
    resource::{
        CallCtx,
        metrics::{HostMetrics, Numbers, Observe},
        process::Identity,
        service,
    },
};
use async_trait::async_trait;
use std::{collections::BTreeMap, sync::Arc};

pub const NAMES: &[(&str, Dimension)] =
    &[("cpu", Dimension::Processors), ("memory", Dimension::Bytes), ("processes", Dimension::Number)];

pub struct Process {
    service: Arc<service::Observer>,
    series: Series<Sample>,
}

struct Use {
    ticks: u64,
    resident: u64,
}

type Sample = BTreeMap<Identity, Use>;

impl Process {
    pub fn new(service: Arc<service::Observer>) -> Self {
        Self { service, series: Series::default() }
    }

    async fn sample(&self) -> Result<Sample, Failure> {
        // One that has ended in between is not there; another that got its id since is not the service's.
        let before: Sample = self.service.processes().await?.into_iter().filter_map(look).collect();
        let still = self.service.processes().await?;
        Ok(before.into_iter().filter(|(identity, _)| still.contains(&identity.pid)).collect())
    }
}

fn look(pid: i32) -> Option<(Identity, Use)> {
    let process = procfs::process::Process::new(pid).ok()?;
    let stat = process.stat().ok()?;
    // One that has ended and was not collected yet uses nothing.
    if matches!(stat.state, 'Z' | 'X') {
        return None;
    }
    let resident = process.statm().ok()?.resident * procfs::page_size();
    Some((Identity { pid, start: stat.starttime }, Use { ticks: stat.utime + stat.stime, resident }))
}

impl Pair<Sample> {
    /// One that began between the samples has used all its time between them. What one that ended used is not known.
    fn cpu(&self) -> Option<f64> {
        if self.after.is_empty() {
            return None;
        }
        let used = |(identity, now): (&Identity, &Use)| {
            now.ticks.saturating_sub(self.before.get(identity).map_or(0, |before| before.ticks))
        };
        let ticks: u64 = self.after.iter().map(used).sum();
        Some(ticks as f64 / procfs::ticks_per_second() as f64 / self.apart.as_secs_f64())
    }
}

#[async_trait]
impl Observe for Process {
    fn names(&self) -> Vec<String> {
        NAMES.iter().map(|(name, _)| (*name).to_owned()).collect()
    }

    fn dimension(&self, name: &str) -> Dimension {
        NAMES.iter().find(|(n, _)| *n == name).map_or(Dimension::Any, |(_, dimension)| *dimension)
    }

    async fn read(&self, names: &[String], _: &CallCtx) -> Result<Numbers, Failure> {
        known(names, &self.names())?;
        let (now, cpu) = if names.iter().any(|name| name == "cpu") {
            let pair = self.series.pair(|| self.sample()).await?;
            (pair.after.clone(), pair.cpu())
        } else {
            (self.series.keep(self.sample().await?).0, None)
        };
        let value = |name: &str| match name {
            "cpu" => cpu,
            "memory" => (!now.is_empty()).then(|| now.values().map(|u| u.resident).sum::<u64>() as f64),
            "processes" => Some(now.len() as f64),
            _ => None,
        };
        Ok(names.iter().map(|name| (name.clone(), value(name))).collect::<Values>().into())
    }

    async fn host(&self, _: &CallCtx) -> Result<HostMetrics, Failure> {
        Err(only_of_this_machine())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn sample(processes: &[(i32, u64, u64)]) -> Arc<Sample> {
        let of = |&(pid, start, ticks): &(i32, u64, u64)| (Identity { pid, start }, Use { ticks, resident: 1 });
        Arc::new(processes.iter().map(of).collect())
    }

    fn cpu(before: &[(i32, u64, u64)], after: &[(i32, u64, u64)]) -> Option<f64> {
        let pair = Pair { before: sample(before), after: sample(after), apart: Duration::from_secs(2) };
        pair.cpu().map(|processors| (processors * 2.0 * procfs::ticks_per_second() as f64).round())
    }

    #[test]
    fn ticks_are_counted_for_each_process_and_an_id_is_used_again() {
        assert_eq!(cpu(&[(7, 100, 50)], &[(7, 100, 80)]), Some(30.0));
        assert_eq!(cpu(&[(7, 100, 50), (8, 1, 5)], &[(7, 100, 80), (8, 1, 6)]), Some(31.0));
        assert_eq!(cpu(&[(7, 100, 50)], &[(7, 900, 3)]), Some(3.0), "another process under the same id");
        assert_eq!(cpu(&[(7, 100, 50)], &[(7, 900, 80)]), Some(80.0), "also one that has used more");
        assert_eq!(cpu(&[(7, 100, 50)], &[(7, 100, 60), (9, 900, 4)]), Some(14.0), "one that began in between");
        assert_eq!(cpu(&[(7, 100, 50), (8, 1, 500)], &[(7, 100, 60)]), Some(10.0), "one that ended in between");
        assert_eq!(cpu(&[(7, 100, 50)], &[]), None, "nothing runs");
    }
}
