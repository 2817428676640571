//! How long a script has kept a processor busy.
use rustix::time::{ClockId, clock_gettime};
use std::{
    future::{Future, poll_fn},
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// Time that threads have spent on the processor for one call into a script: its own computing, and what the host does at
/// once to answer it. Whoever waits is not on a processor, so waiting costs nothing, however long or often.
#[derive(Clone, Default)]
pub struct Processor(Arc<Mutex<Spent>>);

#[derive(Default)]
struct Spent {
    before: Duration,
    /// What the thread's clock said when it took up the work; `None` while nobody works.
    since: Option<Duration>,
}

impl Processor {
    /// To be asked by the thread that is at work.
    pub fn used(&self) -> Duration {
        let spent = self.spent();
        spent.before + spent.since.map_or(Duration::ZERO, |since| thread_time().saturating_sub(since))
    }

    /// Does the work, and counts what it takes. It may go on in another thread whenever it has waited.
    pub async fn counting<F: Future>(&self, work: F) -> F::Output {
        let mut work = pin!(work);
        poll_fn(|context| {
            self.spent().since = Some(thread_time());
            let answer = work.as_mut().poll(context);
            let used = self.used();
            *self.spent() = Spent { before: used, since: None };
            answer
        })
        .await
    }

    fn spent(&self) -> MutexGuard<'_, Spent> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn thread_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}
