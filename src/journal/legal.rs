//! Which entry may follow which, as one table for each of the three things that have a history: a run, an attempt of a
//! step, an operation.
use super::{
    entry::{Entry, Place, Recorded, RunId},
    error::Error,
};
use std::collections::HashMap;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    New,
    Open,
    /// A run that ended half-way, and may go on.
    Halted,
    Closed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Subject {
    Run,
    Step,
    Operation,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Event {
    Begins,
    GoesOn,
    Ends,
    /// Ends, and may be taken up again.
    Halts,
    TakenUp,
    /// Begins and ends in one entry.
    Happens,
}

fn next(state: State, event: Event) -> Option<State> {
    match (state, event) {
        (State::New, Event::Begins) => Some(State::Open),
        (State::New, Event::Happens) => Some(State::Closed),
        (State::Open, Event::GoesOn) => Some(State::Open),
        (State::Open, Event::Ends) => Some(State::Closed),
        (State::Open, Event::Halts) => Some(State::Halted),
        // One that was interrupted has written no end.
        (State::Open | State::Halted, Event::TakenUp) => Some(State::Open),
        _ => None,
    }
}

fn reading(entry: &Entry) -> (Subject, Event) {
    match entry {
        Entry::RunStarted(_) => (Subject::Run, Event::Begins),
        Entry::RunEnded(ending) if ending.is_half_way() => (Subject::Run, Event::Halts),
        Entry::RunEnded(_) => (Subject::Run, Event::Ends),
        Entry::RunResumed(_) => (Subject::Run, Event::TakenUp),
        Entry::Assessed { .. }
        | Entry::Planned { .. }
        | Entry::TurnedBack { .. }
        | Entry::Printed { .. }
        | Entry::Said { .. } => (Subject::Run, Event::GoesOn),
        Entry::StepStarted => (Subject::Step, Event::Begins),
        Entry::StepEnded { .. } => (Subject::Step, Event::Ends),
        Entry::Intent(_) => (Subject::Operation, Event::Begins),
        Entry::Evidence { .. } | Entry::Decided { .. } => (Subject::Operation, Event::GoesOn),
        Entry::Outcome { .. } => (Subject::Operation, Event::Ends),
        Entry::Observed { .. } | Entry::Denied { .. } => (Subject::Operation, Event::Happens),
    }
}

/// The history so far, enough to judge the next entry.
#[derive(Default)]
pub struct History {
    runs: HashMap<RunId, State>,
    places: HashMap<RunId, HashMap<Place, Attempt>>,
}

/// Of a step, or of what stands outside of one.
struct Attempt {
    step: State,
    operations: HashMap<u32, State>,
}

impl History {
    /// What stands in the journal, so that a writer goes on from what is there and not from what it wanted to be there.
    pub fn of(entries: &[Recorded]) -> Result<Self, Error> {
        let mut history = Self::default();
        entries.iter().try_for_each(|r| history.admit(r.run, &r.place, r.seq, &r.entry))?;
        Ok(history)
    }

    /// Nothing more may follow in this run.
    pub fn is_over(&self, run: RunId) -> bool {
        self.runs.get(&run) == Some(&State::Closed)
    }

    /// An entry that is refused leaves the history as it was.
    pub fn admit(&mut self, run: RunId, place: &Place, seq: u32, entry: &Entry) -> Result<(), Error> {
        self.follow(run, place, seq, reading(entry))
    }

    /// As `admit`, of an entry of which only the kind is known; `None`: of this kind that is not enough.
    pub fn admit_kind(&mut self, run: RunId, place: &Place, seq: u32, kind: &[u8]) -> Option<Result<(), Error>> {
        let event = match kind {
            b"intent" => Event::Begins,
            b"outcome" => Event::Ends,
            b"observed" => Event::Happens,
            _ => return None,
        };
        Some(self.follow(run, place, seq, (Subject::Operation, event)))
    }

    fn follow(&mut self, run: RunId, place: &Place, seq: u32, (subject, event): (Subject, Event)) -> Result<(), Error> {
        let illegal = || Error::Illegal(format!("{event:?} of {subject:?} at {} #{seq}", place.title()));
        let of_run = self.runs.get(&run).copied().unwrap_or(State::New);
        if subject == Subject::Run {
            self.runs.insert(run, next(of_run, event).ok_or_else(illegal)?);
            return Ok(());
        }
        if of_run != State::Open {
            return Err(illegal());
        }
        let places = self.places.entry(run).or_default();
        if !places.contains_key(place) {
            places.insert(place.clone(), Attempt { step: State::New, operations: HashMap::new() });
        }
        let attempt = places.get_mut(place).ok_or_else(illegal)?;
        if subject == Subject::Operation {
            // An operation of a step belongs between the step's start and end.
            if !place.step.is_empty() && attempt.step != State::Open {
                return Err(illegal());
            }
            let state = attempt.operations.get(&seq).copied().unwrap_or(State::New);
            attempt.operations.insert(seq, next(state, event).ok_or_else(illegal)?);
            return Ok(());
        }
        let state = next(attempt.step, event).ok_or_else(illegal)?;
        if event == Event::Ends {
            if attempt.operations.values().any(|state| *state == State::Open) {
                return Err(illegal());
            }
            // What is closed cannot be begun again; a finished step's operations can be forgotten.
            attempt.operations = HashMap::new();
        }
        attempt.step = state;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::{Header, Request};

    fn request() -> Request {
        Request {
            operation: "x.y".into(),
            class: "once".into(),
            label: String::new(),
            resource: "run:run".into(),
            changes: vec![],
            disturbs: false,
            request: serde_json::Value::Null,
        }
    }

    #[test]
    fn only_the_lawful_order_is_admitted() {
        let place = Place::new("upgrade", false, "install", 1);
        let start = Entry::RunStarted(Header::default());
        let ended = || Entry::StepEnded { result: Ok(()), millis: 1, limit: false };
        let outcome = || Entry::Outcome { result: Ok(serde_json::Value::Null), millis: 1 };
        let intent = || Entry::Intent(request());
        let mut history = History::default();
        assert!(history.admit(1, &place, 0, &Entry::StepStarted).is_err(), "no run yet");
        history.admit(1, &place, 0, &start).unwrap();
        assert!(history.admit(1, &place, 0, &start).is_err(), "a run starts once");
        assert!(history.admit(1, &place, 1, &intent()).is_err(), "no step yet");
        history.admit(1, &place, 0, &Entry::StepStarted).unwrap();
        assert!(history.admit(1, &place, 1, &outcome()).is_err(), "outcome without intent");
        history.admit(1, &place, 1, &intent()).unwrap();
        assert!(history.admit(1, &place, 1, &intent()).is_err(), "intent twice");
        assert!(history.admit(1, &place, 0, &ended()).is_err(), "a step cannot end while an operation is open");
        history.admit(1, &place, 1, &Entry::Evidence { data: serde_json::Value::Null }).unwrap();
        history.admit(1, &place, 1, &outcome()).unwrap();
        assert!(history.admit(1, &place, 1, &outcome()).is_err(), "outcome twice");
        history.admit(1, &place, 0, &ended()).unwrap();
        assert!(history.admit(1, &place, 2, &intent()).is_err(), "the step is over");
    }
}
