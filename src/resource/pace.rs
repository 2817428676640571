//! Reading what is live without being in its way: no faster than somebody allows.
use std::{
    sync::{Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

/// Bytes in a second, for one reader after the other.
#[derive(Debug)]
pub struct Pace {
    /// 0: as fast as it goes
    per_second: u64,
    /// Until when what was read so far takes its time.
    due: Mutex<Option<Instant>>,
}

impl Pace {
    pub fn new(per_second: u64) -> Self {
        Self { per_second, due: Mutex::new(None) }
    }

    /// So many bytes were read: returns when it is time for more, or at once when it is to stop.
    pub fn took(&self, bytes: u64, stop: impl Fn() -> bool) {
        const SLICE: Duration = Duration::from_millis(100);
        if self.per_second == 0 {
            return;
        }
        let time = Duration::from_secs_f64(bytes as f64 / self.per_second as f64);
        let due = {
            let mut due = self.due.lock().unwrap_or_else(PoisonError::into_inner);
            let now = Instant::now();
            // What was not read in time gone by is not caught up with.
            let next = due.unwrap_or(now).max(now) + time.min(Duration::from_secs(3600));
            *due = Some(next);
            next
        };
        while !stop() {
            let left = due.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            thread::sleep(left.min(SLICE));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_waits_as_long_as_it_is_told_and_no_longer_than_somebody_wants() {
        let (pace, began) = (Pace::new(1_000_000), Instant::now());
        (0..5).for_each(|_| pace.took(20_000, || false));
        assert!(began.elapsed() >= Duration::from_millis(100));
        pace.took(u64::MAX, || true);
        Pace::new(0).took(u64::MAX, || false);
    }
}
