//! This machine, as its kernel counts.
use super::{
    Failure, Values, known,
    series::{Pair, Series},
};
use crate::{
    condition::Dimension,
    resource::{
        CallCtx,
        metrics::{HostMetrics, Numbers, Observe},
    },
};
use async_trait::async_trait;
use procfs::{Current, CurrentSI};
use std::path::{Path, PathBuf};

pub const NAMES: &[(&str, Dimension)] = &[
    ("cpu", Dimension::Fraction),
    ("memory", Dimension::Bytes),
    ("disk-free", Dimension::Bytes),
    ("network-received", Dimension::Throughput),
    ("network-sent", Dimension::Throughput),
];

pub struct Host {
    disk: PathBuf,
    series: Series<Sample>,
}

/// What the kernel has counted since the machine started, and how it is now.
struct Sample {
    /// ticks of all processors: busy, all
    ticks: Option<(u64, u64)>,
    /// bytes: received, sent
    network: Option<(u64, u64)>,
    /// bytes: used, total
    memory: Option<(u64, u64)>,
    /// bytes: free, total
    disk: Option<(u64, u64)>,
}

impl Host {
    pub fn new(disk: &Path) -> Self {
        Self { disk: disk.to_owned(), series: Series::default() }
    }

    async fn sample(&self) -> Result<Sample, Failure> {
        let path = self.disk.clone();
        // A disk that has gone away, over a network, may let this wait for long.
        let look = move || Sample { ticks: ticks(), network: network(), memory: memory(), disk: disk(&path) };
        tokio::task::spawn_blocking(look).await.map_err(|_| Failure::unavailable("the machine could not be looked at"))
    }
}

fn ticks() -> Option<(u64, u64)> {
    let cpu = procfs::KernelStats::current().ok()?.total;
    let idle = cpu.idle + cpu.iowait.unwrap_or(0);
    // Time of guests is part of `user` and `nice` already.
    let rest = [cpu.irq, cpu.softirq, cpu.steal].into_iter().flatten().sum::<u64>();
    let busy = cpu.user + cpu.nice + cpu.system + rest;
    Some((busy, busy + idle))
}

/// Bytes of a container or a bridge pass through a device of the machine as well: only hardware counts, where there is any.
fn network() -> Option<(u64, u64)> {
    let devices = procfs::net::dev_status().ok()?;
    let hardware = |name: &str| Path::new("/sys/class/net").join(name).join("device").exists();
    let any = devices.keys().any(|name| hardware(name));
    let counted = devices.values().filter(|d| if any { hardware(&d.name) } else { d.name != "lo" });
    Some(counted.fold((0, 0), |(received, sent), d| (received + d.recv_bytes, sent + d.sent_bytes)))
}

fn memory() -> Option<(u64, u64)> {
    let memory = procfs::Meminfo::current().ok()?;
    Some((memory.mem_total.saturating_sub(memory.mem_available?), memory.mem_total))
}

fn disk(path: &Path) -> Option<(u64, u64)> {
    let disk = rustix::fs::statvfs(path).ok()?;
    Some((disk.f_bavail * disk.f_frsize, disk.f_blocks * disk.f_frsize))
}

impl Pair<Sample> {
    fn cpu(&self) -> Option<f64> {
        let ((busy, all), (busy_now, all_now)) = (self.before.ticks?, self.after.ticks?);
        let all = all_now.checked_sub(all).filter(|ticks| *ticks > 0)?;
        Some((busy_now.saturating_sub(busy) as f64 / all as f64).min(1.0))
    }

    /// Received and sent, per second. A device that went away leaves less than there was.
    fn network(&self) -> Option<(f64, f64)> {
        let ((received, sent), (received_now, sent_now)) = (self.before.network?, self.after.network?);
        let seconds = self.apart.as_secs_f64();
        let rate = |then: u64, now: u64| now.checked_sub(then).map(|bytes| bytes as f64 / seconds);
        Some((rate(received, received_now)?, rate(sent, sent_now)?))
    }
}

#[async_trait]
impl Observe for Host {
    fn names(&self) -> Vec<String> {
        NAMES.iter().map(|(name, _)| (*name).to_owned()).collect()
    }

    fn dimension(&self, name: &str) -> Dimension {
        NAMES.iter().find(|(n, _)| *n == name).map_or(Dimension::Any, |(_, dimension)| *dimension)
    }

    async fn read(&self, names: &[String], _: &CallCtx) -> Result<Numbers, Failure> {
        known(names, &self.names())?;
        let changes = names.iter().any(|name| matches!(name.as_str(), "cpu" | "network-received" | "network-sent"));
        let (now, pair) = if changes {
            let pair = self.series.pair(|| self.sample()).await?;
            (pair.after.clone(), Some(pair))
        } else {
            self.series.keep(self.sample().await?)
        };
        let value = |name: &str| match name {
            "cpu" => pair.as_ref()?.cpu(),
            "memory" => Some(now.memory?.0 as f64),
            "disk-free" => Some(now.disk?.0 as f64),
            "network-received" => Some(pair.as_ref()?.network()?.0),
            "network-sent" => Some(pair.as_ref()?.network()?.1),
            _ => None,
        };
        Ok(names.iter().map(|name| (name.clone(), value(name))).collect::<Values>().into())
    }

    async fn host(&self, _: &CallCtx) -> Result<HostMetrics, Failure> {
        let pair = self.series.pair(|| self.sample()).await?;
        let missing = |what: &str| Failure::unavailable(format!("the {what} of this machine cannot be read"));
        let (memory_used, memory_total) = pair.after.memory.ok_or_else(|| missing("memory"))?;
        let (disk_free, disk_total) = pair.after.disk.ok_or_else(|| missing("disk"))?;
        let (network_received, network_sent) = pair.network().ok_or_else(|| missing("network"))?;
        let cpu = pair.cpu().ok_or_else(|| missing("processors"))?;
        Ok(HostMetrics { cpu, memory_used, memory_total, disk_free, disk_total, network_received, network_sent })
    }
}
