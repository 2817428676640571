use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// Latencies are those of this last while.
const WINDOW: Duration = Duration::from_secs(5);
/// More than this many are not remembered, whatever the load.
const MOST: usize = 100_000;

/// Counts what the shop answers.
#[derive(Default)]
pub struct Meter(Mutex<Counts>);

#[derive(Default)]
struct Counts {
    requests: u64,
    errors: u64,
    recent: VecDeque<(Instant, Duration)>,
}

#[derive(serde::Serialize)]
pub struct Reading {
    /// since the start
    pub requests: u64,
    /// answered with a status of 500 and above, since the start
    pub errors: u64,
    /// seconds, over the last five; none without requests
    pub p95: Option<f64>,
}

impl Meter {
    pub fn count(&self, error: bool, took: Duration) {
        let now = Instant::now();
        let mut counts = self.counts();
        counts.requests += 1;
        counts.errors += u64::from(error);
        if counts.recent.len() == MOST {
            counts.recent.pop_front();
        }
        counts.recent.push_back((now, took));
    }

    pub fn read(&self) -> Reading {
        let now = Instant::now();
        let mut counts = self.counts();
        counts.recent.retain(|(at, _)| now.duration_since(*at) < WINDOW);
        let mut times: Vec<Duration> = counts.recent.iter().map(|(_, took)| *took).collect();
        let rank = (times.len() * 95).div_ceil(100).saturating_sub(1);
        let p95 = (!times.is_empty()).then(|| times.select_nth_unstable(rank).1.as_secs_f64());
        Reading { requests: counts.requests, errors: counts.errors, p95 }
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Reading {
    /// The text that Prometheus reads.
    pub fn prometheus(&self) -> String {
        let mut text = format!(
            "# TYPE shop_requests_total counter\nshop_requests_total {}\n\
             # TYPE shop_errors_total counter\nshop_errors_total {}\n",
            self.requests, self.errors
        );
        if let Some(p95) = self.p95 {
            text.push_str(&format!("# TYPE shop_p95_seconds gauge\nshop_p95_seconds {p95}\n"));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ninety_five_of_a_hundred_are_not_slower_than_p95() {
        let meter = Meter::default();
        assert_eq!(meter.read().p95, None);
        for millis in 1..=100 {
            meter.count(millis % 10 == 0, Duration::from_millis(millis));
        }
        let reading = meter.read();
        assert_eq!((reading.requests, reading.errors, reading.p95), (100, 10, Some(0.095)));
        assert!(reading.prometheus().contains("shop_errors_total 10\n"));
    }
}
