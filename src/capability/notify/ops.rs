use crate::{
    gate::{Operation, class},
    resource::{
        CallCtx, Channel, Failure, Resources, Right,
        channel::{By, Message, Mutator, Terms, key},
        run::RUN,
    },
};
use serde::Serialize;
use std::time::Duration;

/// For ending the last attempt.
const SLACK: Duration = Duration::from_secs(15);

/// Idempotent by the key that a message has from its operation: whoever gets it again can tell that it is the same.
#[derive(Serialize)]
pub struct Send {
    pub channel: String,
    pub title: String,
    pub text: String,
    #[serde(skip)]
    terms: Terms,
    /// Which run of all runs anywhere says it.
    #[serde(skip)]
    seed: u64,
}

impl Send {
    pub fn new(channel: String, title: String, text: String, resources: &Resources) -> Self {
        let terms = resources.channel.0.get(&channel).map(|lend| lend.terms.clone()).unwrap_or_default();
        let seed = resources.run.0.get(RUN).map_or(0, |run| run.access.observer.seed);
        Self { channel, title, text, terms, seed }
    }

    fn message(&self, call: &CallCtx) -> Message {
        let run = call.key.split('/').next().and_then(|run| run.parse().ok()).unwrap_or(0);
        let key = key(&[&self.seed.to_string(), &call.key]);
        Message::new(key, By::Script, "message", &self.title, &self.text).of(&self.terms.package, run)
    }
}

impl Operation for Send {
    const NAME: &'static str = "notify.send";
    const RIGHT: Option<Right> = Some(Right::Send);
    type On = Channel;
    type Class = class::Idempotent;
    type Output = ();
    fn label(&self) -> &str {
        &self.channel
    }
    /// Nothing that a run could take back.
    fn changes(&self) -> bool {
        false
    }
    fn disturbs(&self) -> bool {
        false
    }
    fn deadline(&self, _: Duration) -> Duration {
        self.terms.within + SLACK
    }
    async fn execute(&self, channel: &Mutator, call: &CallCtx) -> Result<(), Failure> {
        let message = self.message(call);
        if message.title().is_empty() {
            return Err(Failure::invalid("a message has a title"));
        }
        channel.send(&message, call).await
    }
}
