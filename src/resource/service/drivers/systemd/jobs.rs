//! Jobs: what a manager has been asked to do with a unit, and what has become of it.
use super::bus::{Bus, DESTINATION, JOB, MANAGER};
use crate::resource::{Failure, FailureKind};
use std::{
    future::poll_fn,
    num::NonZeroUsize,
    pin::Pin,
    time::{Duration, Instant},
};
use zbus::{MatchRule, MessageStream, OwnedObjectPath, export::futures_core::Stream, message::Type};

/// A signal may get lost with the bus; then the job itself is asked.
const LOOK_AGAIN: Duration = Duration::from_millis(500);
/// Jobs that end between two looks: a stream that is full would hold up everything else.
const QUEUE: NonZeroUsize = NonZeroUsize::MIN.saturating_add(4095);
/// For the manager to let go of a job.
const CANCEL: Duration = Duration::from_secs(2);

/// Hears how jobs end. Listens before it asks for any: a job may be done before the answer to that is read.
pub struct Jobs<'b> {
    bus: &'b Bus,
    ended: MessageStream,
}

/// A job's end, or why there is none.
pub enum Ended {
    Done,
    /// As the manager says it: `failed`, `timeout`, `dependency`, `canceled`, …
    Otherwise(String),
    /// Time was over; the job was called off.
    TimeOver,
}

impl<'b> Jobs<'b> {
    pub async fn listen(bus: &'b Bus) -> Result<Self, Failure> {
        let deaf = |error: zbus::Error| Failure::unavailable(format!("the bus of its manager tells nothing: {error}"));
        let rule = MatchRule::builder().msg_type(Type::Signal).sender(DESTINATION).interface(MANAGER);
        let rule = rule.member("JobRemoved").build().map_err(deaf)?;
        let ended = MessageStream::for_match_rule(rule, &bus.connection, Some(QUEUE)).await.map_err(deaf)?;
        // Without it a manager sends no signals. It ends with the connection.
        bus.ask::<_, ()>("Subscribe", &()).await?;
        Ok(Self { bus, ended })
    }

    /// `method`: `StartUnit`, `StopUnit`, `RestartUnit`, `ReloadUnit`.
    pub async fn run(&mut self, method: &str, unit: &str, mode: &str, until: Instant) -> Result<Ended, Failure> {
        let job: OwnedObjectPath = self.bus.ask(method, &(unit, mode)).await?;
        if let Some(ended) = self.wait(job.as_str(), until).await? {
            return Ok(ended);
        }
        // What nobody waits for any more must not happen later, in the middle of something else.
        if let Some(Ok(id)) = job.as_str().rsplit('/').next().map(str::parse::<u32>) {
            super::bus::unless_gone(self.bus.ask("CancelJob", &id).await)?;
            match self.wait(job.as_str(), Instant::now() + CANCEL).await? {
                Some(Ended::Done) => return Ok(Ended::Done),
                _ => return Ok(Ended::TimeOver),
            }
        }
        Ok(Ended::TimeOver)
    }

    async fn wait(&mut self, job: &str, until: Instant) -> Result<Option<Ended>, Failure> {
        let mut gone = false;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let next = poll_fn(|cx| Pin::new(&mut self.ended).poll_next(cx));
            match tokio::time::timeout(left.min(LOOK_AGAIN), next).await {
                Ok(Some(Ok(message))) => {
                    let Ok((_, path, _, result)) =
                        message.body().deserialize::<(u32, OwnedObjectPath, String, String)>()
                    else {
                        continue;
                    };
                    if path.as_str() == job {
                        return Ok(Some(match result.as_str() {
                            "done" | "skipped" => Ended::Done,
                            _ => Ended::Otherwise(result),
                        }));
                    }
                }
                Ok(Some(Err(_))) => {}
                Ok(None) => return Err(Failure::unavailable("the bus of its manager has gone away")),
                Err(_) if gone => return Err(Failure::unavailable("the manager has not said what has become of it")),
                Err(_) => match self.bus.property::<String>(job, JOB, "State").await {
                    Ok(_) if left.is_zero() => return Ok(None),
                    Ok(_) => {}
                    // One more look: its end may be on its way.
                    Err(failure) if failure.kind == FailureKind::NotFound => gone = true,
                    Err(failure) => return Err(failure),
                },
            }
        }
    }
}
