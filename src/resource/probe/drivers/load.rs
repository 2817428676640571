//! Many clients at once. Each sends a request as soon as the one before is answered.
use super::Failure;
use crate::resource::{CallCtx, http, probe::Sample};
use hdrhistogram::Histogram;
use reqwest::{Client, Url};
use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::task::JoinSet;

/// A client that got no answer tries again after a while, so that a dead product is not asked millions of times.
const PAUSE: Duration = Duration::from_millis(100);
/// Microseconds; a slower answer counts as this slow.
const SLOWEST: u64 = 3_600_000_000;

pub struct Plan {
    /// keeps as many connections as there are clients
    pub client: Client,
    pub url: Url,
    pub clients: u32,
    pub time: Duration,
    /// for one request
    pub timeout: Duration,
}

struct Counts {
    requests: AtomicU64,
    errors: AtomicU64,
    /// microseconds, of requests that are no errors
    times: Mutex<Histogram<u64>>,
}

pub async fn run(plan: Plan, call: &CallCtx) -> Result<Sample, Failure> {
    let times = Histogram::new_with_bounds(1, SLOWEST, 3).map_err(|e| Failure::failed(format!("no histogram: {e}")))?;
    let counts = Arc::new(Counts { requests: AtomicU64::new(0), errors: AtomicU64::new(0), times: Mutex::new(times) });
    let (plan, began) = (Arc::new(plan), Instant::now());
    // Whoever stops waiting for the set ends all of its clients.
    let mut clients = JoinSet::new();
    for _ in 0..plan.clients {
        clients.spawn(client(plan.clone(), counts.clone(), began + plan.time));
    }
    let mut seconds = tokio::time::interval(Duration::from_secs(1));
    loop {
        tokio::select! {
            () = call.cancel.cancelled() => return Err(Failure::unavailable("cancelled")),
            next = clients.join_next() => if next.is_none() { break },
            _ = seconds.tick() => {
                let (requests, errors) = counts.so_far();
                let done = began.elapsed().min(plan.time).as_secs();
                call.progress(&format!("{requests} requests, {errors} errors"), done, plan.time.as_secs());
            }
        }
    }
    let ((requests, errors), seconds) = (counts.so_far(), began.elapsed().as_secs_f64());
    let times = counts.times.lock().unwrap_or_else(PoisonError::into_inner);
    let millis = |micros: u64| if times.is_empty() { f64::NAN } else { micros as f64 / 1000.0 };
    let at = |percentile| millis(times.value_at_percentile(percentile));
    Ok(Sample {
        requests,
        errors,
        seconds,
        p50: at(50.0),
        p90: at(90.0),
        p95: at(95.0),
        p99: at(99.0),
        max: millis(times.max()),
    })
}

impl Counts {
    fn so_far(&self) -> (u64, u64) {
        (self.requests.load(Ordering::Relaxed), self.errors.load(Ordering::Relaxed))
    }
}

async fn client(plan: Arc<Plan>, counts: Arc<Counts>, end: Instant) {
    while Instant::now() < end {
        let began = Instant::now();
        let answered = request(&plan).await;
        counts.requests.fetch_add(1, Ordering::Relaxed);
        match answered {
            Ok(status) if status < 500 => {
                let micros = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
                counts.times.lock().unwrap_or_else(PoisonError::into_inner).saturating_record(micros);
            }
            Ok(_) => {
                counts.errors.fetch_add(1, Ordering::Relaxed);
            }
            Err(_) => {
                counts.errors.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// The status of a whole answer.
async fn request(plan: &Plan) -> Result<u16, Failure> {
    let why = |e: reqwest::Error| http::why(&e, plan.timeout);
    let answer = plan.client.get(plan.url.clone()).timeout(plan.timeout).send().await.map_err(why)?;
    let status = answer.status().as_u16();
    http::body(answer, 0, super::http::MAX_READ, plan.timeout).await?;
    Ok(status)
}
