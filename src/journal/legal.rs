//! Which entry may follow which, as one table for each of the three things that have a history: a run, an attempt of a
//! step, an operation.
use super::{
    entry::{Entry, Place, Recorded, RunId},
    error::Error,
};
use std::collections::{BTreeMap, HashMap};

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
    /// Ends by a limit: what was begun in an earlier life may not have been come to again.
    EndsEarly,
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
        (State::Open, Event::Ends | Event::EndsEarly) => Some(State::Closed),
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
        | Entry::Telling { .. }
        | Entry::Told { .. }
        | Entry::Printed { .. }
        | Entry::Said { .. } => (Subject::Run, Event::GoesOn),
        Entry::StepStarted => (Subject::Step, Event::Begins),
        Entry::StepEnded { limit: true, .. } => (Subject::Step, Event::EndsEarly),
        Entry::StepEnded { .. } => (Subject::Step, Event::Ends),
        Entry::Intent(_) => (Subject::Operation, Event::Begins),
        Entry::Evidence { .. } | Entry::Decided { .. } => (Subject::Operation, Event::GoesOn),
        Entry::Outcome { .. } => (Subject::Operation, Event::Ends),
        Entry::Observed { .. } | Entry::Denied { .. } => (Subject::Operation, Event::Happens),
    }
}

/// The history so far, enough to judge the next entry.
#[derive(Default)]
pub struct History(BTreeMap<RunId, Run>);

struct Run {
    state: State,
    places: BTreeMap<Place, Attempt>,
}

/// Of a step, or of what stands outside of one.
struct Attempt {
    step: State,
    operations: Operations,
}

#[derive(Default)]
struct Operations {
    /// All up to this one are closed, as a step does one after the other.
    closed: u32,
    others: HashMap<u32, State>,
}

impl Operations {
    /// `None`: it must not follow.
    fn follow(&mut self, seq: u32, event: Event) -> Option<()> {
        let before = match self.others.get(&seq) {
            Some(state) => *state,
            None if (1..=self.closed).contains(&seq) => State::Closed,
            None => State::New,
        };
        let state = next(before, event)?;
        if state != State::Closed || self.closed.checked_add(1) != Some(seq) {
            self.others.insert(seq, state);
            return Some(());
        }
        self.others.remove(&seq);
        self.closed = seq;
        while let Some(next) = self.closed.checked_add(1)
            && self.others.get(&next) == Some(&State::Closed)
        {
            self.others.remove(&next);
            self.closed = next;
        }
        Some(())
    }

    fn any_open(&self) -> bool {
        self.others.values().any(|state| *state == State::Open)
    }
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
        self.0.get(&run).is_some_and(|run| run.state == State::Closed)
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
        if subject == Subject::Run {
            let before = self.0.get(&run).map_or(State::New, |run| run.state);
            let state = next(before, event).ok_or_else(illegal)?;
            self.0.entry(run).or_insert_with(|| Run { state, places: BTreeMap::new() }).state = state;
            return Ok(());
        }
        let run = self.0.get_mut(&run).filter(|run| run.state == State::Open).ok_or_else(illegal)?;
        if !run.places.contains_key(place) {
            run.places.insert(place.clone(), Attempt { step: State::New, operations: Operations::default() });
        }
        let attempt = run.places.get_mut(place).ok_or_else(illegal)?;
        if subject == Subject::Operation {
            // An operation of a step belongs between the step's start and end.
            if !place.step.is_empty() && attempt.step != State::Open {
                return Err(illegal());
            }
            return attempt.operations.follow(seq, event).ok_or_else(illegal);
        }
        let state = next(attempt.step, event).ok_or_else(illegal)?;
        if matches!(event, Event::Ends | Event::EndsEarly) {
            if event == Event::Ends && attempt.operations.any_open() {
                return Err(illegal());
            }
            // What is closed cannot be begun again; a finished step's operations can be forgotten.
            attempt.operations = Operations::default();
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

    /// Up to an operation that goes on.
    fn so_far(place: &Place) -> Vec<Recorded> {
        let entries =
            [(0, Entry::RunStarted(Header::default())), (0, Entry::StepStarted), (1, Entry::Intent(request()))];
        entries.map(|(seq, entry)| Recorded::now(1, place, seq, entry)).to_vec()
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
        let mut limited = History::of(&so_far(&place)).unwrap();
        limited.admit(1, &place, 0, &Entry::StepEnded { result: Ok(()), millis: 1, limit: true }).unwrap();
        assert!(limited.admit(1, &place, 1, &outcome()).is_err(), "the step is over");
        history.admit(1, &place, 1, &Entry::Evidence { data: serde_json::Value::Null }).unwrap();
        history.admit(1, &place, 1, &outcome()).unwrap();
        assert!(history.admit(1, &place, 1, &outcome()).is_err(), "outcome twice");
        // In any order, for some go on while others are told.
        for seq in [3, 2, 5] {
            history.admit(1, &place, seq, &intent()).unwrap();
        }
        for seq in [3, 5, 2] {
            assert!(history.admit(1, &place, seq, &intent()).is_err(), "it is open");
            history.admit(1, &place, seq, &outcome()).unwrap();
            assert!(history.admit(1, &place, seq, &outcome()).is_err(), "it is closed");
        }
        (1..=3).for_each(|seq| assert!(history.admit(1, &place, seq, &intent()).is_err(), "it was closed"));
        history.admit(1, &place, 4, &intent()).unwrap();
        history.admit(1, &place, 4, &outcome()).unwrap();
        assert!(history.admit(1, &place, 5, &intent()).is_err(), "it was closed");
        history.admit(1, &place, 0, &ended()).unwrap();
        assert!(history.admit(1, &place, 2, &intent()).is_err(), "the step is over");
    }
}
