//! What one attempt of one step may use of the gate.
use super::Stop;
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

#[derive(Clone, Copy, Debug)]
pub struct Quota {
    pub calls: u32,
    pub log_bytes: u64,
    pub store_bytes: u64,
    /// What its calls and their answers may add to the journal.
    pub journal_bytes: u64,
    /// What all steps of a phase together may add to it; what an upgrade has used up is not missing in its rollback.
    pub journal_bytes_of_phase: u64,
    pub wall: Duration,
}
impl Default for Quota {
    fn default() -> Self {
        Self {
            calls: 100_000,
            log_bytes: 1 << 20,
            store_bytes: 1 << 20,
            journal_bytes: 64 << 20,
            journal_bytes_of_phase: 512 << 20,
            wall: Duration::from_secs(4 * 3600),
        }
    }
}

/// How much of its log one attempt of one step has used.
#[derive(Clone)]
pub struct LogMeter {
    used: Arc<AtomicU64>,
    limit: u64,
}

impl LogMeter {
    pub fn new(used: Arc<AtomicU64>, limit: u64) -> Self {
        Self { used, limit }
    }

    /// Every line costs a little more than its text.
    pub fn count(&self, lines: usize, bytes: usize) -> Result<(), Stop> {
        let bytes = (bytes + 16 * lines) as u64;
        if self.used.fetch_add(bytes, Ordering::Relaxed) + bytes > self.limit {
            return Err(Stop::Limit { what: "bytes of log and report in one step", limit: self.limit });
        }
        Ok(())
    }
}

/// What calls have added to the journal so far.
#[derive(Clone, Default)]
pub struct Written {
    in_step: Arc<AtomicU64>,
    in_phase: Arc<AtomicU64>,
}

impl Written {
    /// Of another attempt or step of the same phase.
    pub fn beside(&self) -> Self {
        Self { in_step: Arc::default(), in_phase: self.in_phase.clone() }
    }

    /// Of a phase that has added so many bytes already.
    pub fn of_phase(bytes: u64) -> Self {
        Self { in_phase: Arc::new(AtomicU64::new(bytes)), ..Self::default() }
    }
    pub fn in_phase(&self) -> u64 {
        self.in_phase.load(Ordering::Relaxed)
    }

    /// A step that asks for the same megabyte again and again would fill the disk under the journal.
    pub fn count(&self, bytes: u64, quota: &Quota) -> Result<(), Stop> {
        if self.in_step.fetch_add(bytes, Ordering::Relaxed) + bytes > quota.journal_bytes {
            return Err(Stop::Limit { what: "bytes in the journal in one step", limit: quota.journal_bytes });
        }
        if self.in_phase.fetch_add(bytes, Ordering::Relaxed) + bytes > quota.journal_bytes_of_phase {
            return Err(Stop::Limit { what: "bytes in the journal in one phase", limit: quota.journal_bytes_of_phase });
        }
        Ok(())
    }

    /// What must be written in any case: the next call is one too many.
    pub fn add(&self, bytes: u64) {
        self.in_step.fetch_add(bytes, Ordering::Relaxed);
        self.in_phase.fetch_add(bytes, Ordering::Relaxed);
    }
}

/// Bytes of a value in the journal, without keeping them.
pub fn json_size(value: &impl serde::Serialize) -> u64 {
    struct Counter(u64);
    impl std::io::Write for Counter {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0 += bytes.len() as u64;
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let mut counter = Counter(0);
    match serde_json::to_writer(&mut counter, value) {
        Ok(()) => counter.0,
        Err(_) => u64::MAX,
    }
}
