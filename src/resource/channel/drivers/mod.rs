//! How messages get there. What each driver does is one attempt; here is what is the same for all: that it is tried again, with
//! growing waits, and for how long.
mod alertmanager;
mod answer;
mod command;
pub mod simulated;
mod slack;
mod smtp;
mod webhook;

use super::{Driver, Message, Mutate, Observe, Section};
use crate::resource::{Access, CallCtx, Channel, Failure, process::own_executable};
use async_trait::async_trait;
use std::{
    collections::BTreeSet,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

pub fn open(name: &str, section: &Section) -> Result<Access<Channel>, Failure> {
    open_with(name, section, own_executable())
}

/// For a program that is not Backout itself: `executable` is what the guard of a command is started from.
pub fn open_with(name: &str, section: &Section, executable: PathBuf) -> Result<Access<Channel>, Failure> {
    let carrier: Box<dyn Carrier> = match &section.driver {
        Driver::Webhook { url, secret, headers } => Box::new(webhook::Webhook::new(url, secret, headers)?),
        Driver::Slack { url } => Box::new(slack::Slack::new(url)?),
        Driver::Smtp(smtp) => Box::new(smtp::Mail::new(smtp)?),
        Driver::Alertmanager { url, headers, labels } => {
            Box::new(alertmanager::Alertmanager::new(url, headers, labels)?)
        }
        Driver::Command(command) => Box::new(command::Pager::new(name, command, executable)),
    };
    let driver = Arc::new(Persistent { carrier, timeout: section.timeout, within: section.within });
    Ok(Access { observer: driver.clone(), mutator: driver })
}

/// Whether a section can be used at all. Nothing is sent, nobody is asked.
pub fn understood(section: &Section) -> Result<(), Failure> {
    match &section.driver {
        Driver::Webhook { url, secret, headers } => webhook::understood(url, secret, headers),
        Driver::Slack { url } => crate::resource::http::address(url).map(drop),
        Driver::Smtp(smtp) => smtp::understood(smtp).map(drop),
        Driver::Alertmanager { url, headers, labels } => alertmanager::understood(url, headers, labels).map(drop),
        Driver::Command(_) => Ok(()),
    }
}

/// Who has been told already, where there are several.
type Reached = BTreeSet<String>;

/// Why an attempt came to nothing.
enum Refused {
    /// The same may work in a while, or after the time that the receiver asks for.
    Now(Failure, Option<Duration>),
    ForGood(Failure),
}

#[async_trait]
trait Carrier: Send + Sync {
    fn tells_apart(&self) -> bool;
    /// Until `call.deadline`. What is in `reached` is not told again.
    async fn carry(&self, message: &Message, reached: &mut Reached, call: &CallCtx) -> Result<(), Refused>;
}

struct Persistent {
    carrier: Box<dyn Carrier>,
    timeout: Duration,
    within: Duration,
}

impl Observe for Persistent {
    fn tells_apart(&self) -> bool {
        self.carrier.tells_apart()
    }
}

#[async_trait]
impl Mutate for Persistent {
    async fn send(&self, message: &Message, call: &CallCtx) -> Result<(), Failure> {
        let end = call.deadline.min(Instant::now() + self.within);
        let (mut pause, mut tries, mut reached) = (FIRST_PAUSE, 0u32, Reached::new());
        loop {
            let deadline = end.min(Instant::now() + self.timeout);
            let attempt = CallCtx { deadline, ..call.clone() };
            let carried = self.carrier.carry(message, &mut reached, &attempt);
            tries += 1;
            let (failure, wanted) = match tokio::time::timeout_at(deadline.into(), carried).await {
                Ok(Ok(())) => return Ok(()),
                Ok(Err(Refused::ForGood(failure))) => return Err(failure),
                Ok(Err(Refused::Now(failure, wanted))) => (failure, wanted),
                Err(_) => (Failure::unavailable("no answer in the time of an attempt"), None),
            };
            let wait = wanted.unwrap_or_default().max(pause);
            if Instant::now() + wait >= end {
                let attempts = if tries == 1 { "1 attempt".to_owned() } else { format!("{tries} attempts") };
                return Err(Failure::unavailable(format!("not told after {attempts}; the last: {}", failure.message)));
            }
            call.progress(&format!("not told yet: {}", failure.message), 0, 0);
            tokio::select! {
                biased;
                () = call.cancel.cancelled() => return Err(Failure::unavailable(format!("not told: {}", failure.message))),
                () = tokio::time::sleep(wait) => {}
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }
}
