use super::class::Class;
use crate::resource::{CallCtx, Failure, Kind, Right};
use serde::{Deserialize as _, Serialize, de::DeserializeOwned};
use std::{future::Future, time::Duration};

/// What a look at the real state says about an operation that was begun.
pub enum Reconciled<T> {
    Done(T),
    NotDone,
    /// The text says what would have to be looked at.
    Unknown(String),
}

impl Reconciled<()> {
    /// Of what may be done twice: where nobody can say whether it has happened, it is done again.
    pub fn of_idempotent(done: Result<bool, Failure>) -> Self {
        if matches!(done, Ok(true)) { Self::Done(()) } else { Self::NotDone }
    }
}

pub type Half<O> = <<O as Operation>::Class as Class>::Half<<O as Operation>::On>;
pub type Observer<O> = <<O as Operation>::On as Kind>::Observer;

/// One host function as data. Implemented with `async fn`; declared with `Send` so that steps can move between threads.
pub trait Operation: Serialize + Send + Sync {
    /// `interface.function`
    const NAME: &'static str;
    /// `None`: needs no grant, because it acts on the run itself.
    const RIGHT: Option<Right>;
    type On: Kind;
    type Class: Class;
    /// What the journal keeps. It may say more than the script is told.
    type Output: Serialize + DeserializeOwned + Send;

    /// The package's word for the resource; empty for the run.
    fn label(&self) -> &str;

    /// Whether what is live may be different afterwards. A backup is not such a change, a fence is not either.
    fn changes(&self) -> bool {
        Self::Class::CHANGES
    }

    /// Whether anybody but Backout could notice it. Making a copy is no such thing, stopping a service is.
    fn disturbs(&self) -> bool {
        Self::Class::CHANGES
    }

    /// Fields that the host adds to what the script has said; a script that runs again is not held to them.
    const GIVEN: &'static [&'static str] = &[];

    /// Of an operation that observes: it waits, so its beginning is written down, and it goes on after an interruption with
    /// the time that is left.
    const LASTS: bool = false;

    /// How long it may take. Neither epochs nor fuel interrupt a host call.
    fn deadline(&self, usual: Duration) -> Duration {
        usual
    }

    fn execute(&self, half: &Half<Self>, call: &CallCtx) -> impl Future<Output = Result<Self::Output, Failure>> + Send;

    /// What it comes to in a world that is only simulated, where nothing but the changed world could tell: that it is as the
    /// script wants it. `None`: the simulated driver knows. What the script says wrongly is wrong here too.
    fn assume(&self, _half: &Half<Self>) -> Option<Result<Self::Output, Failure>> {
        None
    }

    /// It has happened, and the journal could not take that: nobody will ever ask for what it left behind.
    fn unrecorded(
        &self,
        _half: &Half<Self>,
        _output: &Self::Output,
        _call: &CallCtx,
    ) -> impl Future<Output = ()> + Send {
        async {}
    }

    /// What it came to where a person has said that it has happened.
    fn presumed(&self) -> Result<Self::Output, Failure> {
        let nothing = Self::Output::deserialize(serde_json::Value::Null);
        nothing.map_err(|_| {
            Failure::inconclusive(format!("it is said to have happened; what {} came to is not known", Self::NAME))
        })
    }

    /// Whether a failure tells all that there is to know, also after the first evidence: a command that has ended with an exit
    /// code of its own has said what it had to say.
    fn is_final(&self, _failure: &Failure) -> bool {
        false
    }

    /// Whether it has happened, after a time-out or a crash. Whatever still works for it has been ended before.
    fn reconcile(
        &self,
        _real: &Observer<Self>,
        _evidence: &[serde_json::Value],
        _call: &CallCtx,
    ) -> impl Future<Output = Result<Reconciled<Self::Output>, Failure>> + Send {
        async {
            Ok(match Self::Class::NAME {
                "once" => Reconciled::Unknown(format!("look at the resource whether {} has happened", Self::NAME)),
                _ => Reconciled::NotDone,
            })
        }
    }
}
