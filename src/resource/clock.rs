//! The time that operations wait by.
use super::process::give_back;
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

/// In a simulated world time passes only by being waited for, and takes none.
#[derive(Clone, Debug, Default)]
pub enum Clock {
    #[default]
    Real,
    Simulated(Arc<Simulated>),
}

#[derive(Debug)]
pub struct Simulated {
    began: Instant,
    /// milliseconds since 1970-01-01 UTC
    at: u64,
    /// milliseconds
    passed: AtomicU64,
}

/// Getting the program's text back takes less than a millisecond.
const LONG: Duration = Duration::from_secs(1);

impl Clock {
    /// `at`: what it says first, in milliseconds since 1970-01-01 UTC.
    pub fn simulated(at: u64) -> Self {
        Self::Simulated(Arc::new(Simulated { began: Instant::now(), at, passed: AtomicU64::new(0) }))
    }

    pub fn is_simulated(&self) -> bool {
        matches!(self, Self::Simulated(_))
    }

    pub fn now(&self) -> Instant {
        match self {
            Self::Real => Instant::now(),
            Self::Simulated(clock) => clock.began + Duration::from_millis(clock.passed.load(Ordering::Relaxed)),
        }
    }

    /// Milliseconds since 1970-01-01 UTC.
    pub fn unix_millis(&self) -> u64 {
        match self {
            Self::Real => {
                let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
            }
            Self::Simulated(clock) => clock.at + clock.passed.load(Ordering::Relaxed),
        }
    }

    /// Milliseconds that were waited for in a simulated world.
    pub fn passed(&self) -> u64 {
        match self {
            Self::Real => 0,
            Self::Simulated(clock) => clock.passed.load(Ordering::Relaxed),
        }
    }

    /// A simulated world goes on from another moment; the real one does not.
    pub fn set_passed(&self, millis: u64) {
        if let Self::Simulated(clock) = self {
            clock.passed.store(millis, Ordering::Relaxed);
        }
    }

    pub async fn sleep(&self, time: Duration) {
        match self {
            Self::Real => {
                if time >= LONG {
                    give_back();
                }
                tokio::time::sleep(time).await;
            }
            Self::Simulated(clock) => {
                let millis = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
                // Whoever waits in a loop gets on, however little it waits for.
                clock.passed.fetch_add(millis.clamp(1, 1 << 40), Ordering::Relaxed);
            }
        }
    }
}
