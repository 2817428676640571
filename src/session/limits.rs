use crate::{gate::Quota, journal};
use std::time::Duration;
use wasmtime::ResourceLimiter;

/// What one attempt of one step may use.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// bytes of all linear memories together
    pub memory: u64,
    /// elements of all tables together
    pub table_elements: u64,
    pub instances: usize,
    /// time on a processor, of the script and of what the host does at once for its calls; waiting is free
    pub cpu: Duration,
    /// bytes that one host call may carry in
    pub call_bytes: usize,
    /// resources of WASI that are open at once
    pub handles: usize,
    /// steps in one phase
    pub steps: usize,
    /// steps that run at the same time; each of them may use all of the above
    pub steps_at_once: usize,
    pub quota: Quota,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory: 512 << 20,
            table_elements: 1 << 20,
            instances: 64,
            cpu: Duration::from_secs(60),
            call_bytes: 4 << 20,
            handles: 512,
            steps: 200,
            steps_at_once: 8,
            quota: Quota::default(),
        }
    }
}

impl Limits {
    /// As a run was given them.
    pub fn of(recorded: &journal::Limits) -> Self {
        let size = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
        Self {
            memory: recorded.memory_bytes,
            table_elements: recorded.table_elements,
            instances: size(recorded.instances),
            cpu: Duration::from_millis(recorded.cpu_millis),
            call_bytes: size(recorded.call_bytes),
            handles: size(recorded.handles),
            steps: size(recorded.steps),
            steps_at_once: size(recorded.steps_at_once),
            quota: Quota {
                calls: u32::try_from(recorded.host_calls).unwrap_or(u32::MAX),
                log_bytes: recorded.log_bytes,
                store_bytes: recorded.store_bytes,
                journal_bytes: recorded.journal_bytes,
                journal_bytes_of_phase: recorded.journal_bytes_of_phase,
                wall: Duration::from_millis(recorded.time_millis),
            },
        }
    }

    /// As the journal keeps them.
    pub fn recorded(&self) -> journal::Limits {
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        journal::Limits {
            memory_bytes: self.memory,
            table_elements: self.table_elements,
            instances: self.instances as u64,
            cpu_millis: millis(self.cpu),
            time_millis: millis(self.quota.wall),
            call_bytes: self.call_bytes as u64,
            handles: self.handles as u64,
            steps: self.steps as u64,
            steps_at_once: self.steps_at_once as u64,
            host_calls: self.quota.calls.into(),
            log_bytes: self.quota.log_bytes,
            store_bytes: self.quota.store_bytes,
            journal_bytes: self.quota.journal_bytes,
            journal_bytes_of_phase: self.quota.journal_bytes_of_phase,
        }
    }
}

/// How much is in use; a request beyond a limit is a trap, because a failing `memory.grow` would make what the script
/// does next depend on the machine.
pub struct Meter {
    limits: Limits,
    memory: u64,
    elements: u64,
}

impl Meter {
    pub fn new(limits: Limits) -> Self {
        Self { limits, memory: 0, elements: 0 }
    }
}

/// Told apart from other traps, because such a step ends as a limit.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
pub struct Exceeded(pub String);

impl ResourceLimiter for Meter {
    fn memory_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        self.memory += (desired - current) as u64;
        if self.memory > self.limits.memory {
            let (wanted, limit) = (self.memory >> 20, self.limits.memory >> 20);
            return Err(Exceeded(format!("{wanted} MiB of memory, the limit is {limit} MiB")).into());
        }
        Ok(true)
    }
    fn table_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        self.elements += (desired - current) as u64;
        if self.elements > self.limits.table_elements {
            return Err(Exceeded(format!("more than {} table elements", self.limits.table_elements)).into());
        }
        Ok(true)
    }
    fn instances(&self) -> usize {
        self.limits.instances
    }
    fn tables(&self) -> usize {
        self.limits.instances
    }
    fn memories(&self) -> usize {
        self.limits.instances
    }
}
