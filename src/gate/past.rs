//! What the journal holds of one place: the answers that a script gets when it runs again.
use crate::{
    journal::{self, Entry, Line, Lines, Look, Place, Recorded, Request, RunId},
    resource::{Failure, run::Memory},
};
use serde_json::Value;
use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// An operation as the journal tells it.
#[derive(Clone, Debug)]
pub struct Told {
    /// of the entry with which it began
    pub number: i64,
    /// milliseconds since 1970-01-01 UTC: when that was
    pub at: i64,
    pub sequence: u32,
    pub asked: Asked,
    pub evidence: Vec<Value>,
    /// Somebody has said that it has happened.
    pub decided: bool,
    /// How it ended, if it has.
    pub result: Option<Result<Value, Failure>>,
}

impl Told {
    /// As data, whatever it was read as.
    pub fn whole(self) -> Result<Self, journal::Error> {
        let Asked::Looked(look) = &self.asked else { return Ok(self) };
        match look.whole()?.entry {
            Entry::Observed { request, result, .. } => {
                Ok(Self { asked: Asked::Granted(request), result: Some(result), ..self })
            }
            _ => Err(journal::Error::Damaged { id: self.number, reason: "it is no operation".to_owned() }),
        }
    }
}

#[derive(Clone, Debug)]
pub enum Asked {
    Granted(Request),
    /// Granted too: asked and answered, as its text.
    Looked(Look),
    Denied {
        operation: String,
        label: String,
    },
}

/// The operations of one attempt of one step, in their order, read as they are asked for.
pub struct Past(Mutex<Tape>);

struct Tape {
    run: RunId,
    place: Place,
    lines: Lines,
    /// What the run remembered when the place was come to, and then with every operation that is told.
    memory: Memory,
    /// Read, and not told yet: a script must not remember what it is about to do.
    ahead: VecDeque<Recorded>,
    next: Option<Told>,
    end: Option<Entry>,
    told: u64,
    /// No entry of another place was read.
    alone: bool,
    /// The number of the entry that was read last.
    last: i64,
    /// Why no more of it can be told.
    unreadable: Option<journal::Error>,
}

impl Past {
    /// `lines`: of the run, from the first one of the place on; `memory`: of all that stands before.
    pub fn new(run: RunId, place: Place, lines: Lines, memory: Memory) -> Result<Self, journal::Error> {
        let (ahead, next, end) = (VecDeque::new(), None, None);
        let (told, alone, last, unreadable) = (0, true, 0, None);
        let mut tape = Tape { run, place, lines, memory, ahead, next, end, told, alone, last, unreadable };
        tape.read()?;
        Ok(Self(Mutex::new(tape)))
    }

    /// The operation with this number, unless the journal holds no more.
    pub fn take(&self, sequence: u32) -> Result<Option<Told>, journal::Error> {
        let mut tape = self.tape();
        let Some(told) = tape.next.take() else { return Ok(None) };
        if told.sequence != sequence {
            let reason = format!("operation {} where operation {sequence} belongs", told.sequence);
            return Err(journal::Error::Damaged { id: told.number, reason });
        }
        tape.remember();
        tape.read()?;
        tape.told += 1;
        Ok(Some(told))
    }

    /// The script's call ends by it; whoever leads the call finds here what it was.
    pub(super) fn unreadable(&self, error: journal::Error) {
        self.tape().unreadable = Some(error);
    }

    pub fn take_unreadable(&self) -> Option<journal::Error> {
        self.tape().unreadable.take()
    }

    /// The next operation that the journal holds.
    pub fn next(&self) -> Option<Told> {
        self.tape().next.clone()
    }

    /// How the place ended, once all its operations are told.
    pub fn end(&self) -> Option<Entry> {
        self.tape().end.clone()
    }

    /// How the place ended, also when not all of its operations were told; it tells no more of them.
    pub fn leave(&self) -> Result<Option<Entry>, journal::Error> {
        let mut tape = self.tape();
        while tape.end.is_none() {
            let Some(line) = tape.lines.next().transpose()? else { break };
            // Nothing of it is remembered.
            tape.alone = false;
            let Line::Whole(recorded) = line else { continue };
            if recorded.run == tape.run
                && recorded.place == tape.place
                && matches!(recorded.entry, Entry::StepEnded { .. })
            {
                tape.end = Some(recorded.entry);
            }
        }
        Ok(tape.end.clone())
    }

    /// Once all of it is told, and if nothing else stands between: the number of its last entry, and what the run remembered then.
    pub fn behind(&self) -> Option<(i64, Memory)> {
        let mut tape = self.tape();
        if tape.next.is_some() || tape.end.is_none() || !tape.alone {
            return None;
        }
        tape.remember();
        Some((tape.last, tape.memory.clone()))
    }

    /// How many operations were told.
    pub fn told(&self) -> u64 {
        self.tape().told
    }

    /// What the run remembered at this point, as long as it is told of.
    pub fn remembered<T>(&self, look: impl FnOnce(&Memory) -> T) -> Option<T> {
        let tape = self.tape();
        tape.next.is_some().then(|| look(&tape.memory))
    }

    fn tape(&self) -> MutexGuard<'_, Tape> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Tape {
    fn remember(&mut self) {
        while let Some(recorded) = self.ahead.pop_front() {
            self.memory.apply(&recorded, true);
        }
    }

    /// Reads on to the end of the next operation.
    fn read(&mut self) -> Result<(), journal::Error> {
        while self.end.is_none() {
            let Some(line) = self.lines.next().transpose()? else { return Ok(()) };
            let recorded = match line {
                Line::Whole(recorded) => *recorded,
                // Of what only looks hardly anything is remembered.
                Line::Look(look) if !Memory::keeps(look.operation()) => {
                    let here = look.run == self.run && *look.place == self.place;
                    self.alone &= here;
                    self.last = look.id;
                    if !here {
                        continue;
                    }
                    let (number, at, sequence) = (look.id, look.at, look.seq);
                    let (asked, evidence) = (Asked::Looked(look), Vec::new());
                    self.next = Some(Told { number, at, sequence, asked, evidence, decided: false, result: None });
                    return Ok(());
                }
                Line::Look(look) => look.whole()?,
            };
            let here = recorded.run == self.run && recorded.place == self.place;
            self.alone &= here;
            self.last = recorded.id;
            if here && self.told(&recorded) {
                self.ahead.push_back(recorded);
                return Ok(());
            }
            self.ahead.push_back(recorded);
        }
        Ok(())
    }

    /// Whether an operation has been told to its end.
    fn told(&mut self, recorded: &Recorded) -> bool {
        let begun = |asked, result| Told {
            number: recorded.id,
            at: recorded.at,
            sequence: recorded.seq,
            asked,
            evidence: Vec::new(),
            decided: false,
            result,
        };
        match &recorded.entry {
            Entry::Intent(request) => self.next = Some(begun(Asked::Granted(request.clone()), None)),
            Entry::Observed { request, result, .. } => {
                self.next = Some(begun(Asked::Granted(request.clone()), Some(result.clone())));
                return true;
            }
            Entry::Denied { operation, label, .. } => {
                self.next = Some(begun(Asked::Denied { operation: operation.clone(), label: label.clone() }, None));
                return true;
            }
            Entry::StepEnded { .. } | Entry::Planned { .. } | Entry::Assessed { .. } => {
                self.end = Some(recorded.entry.clone());
            }
            entry => {
                let Some(open) = self.next.as_mut().filter(|open| open.sequence == recorded.seq) else { return false };
                match entry {
                    Entry::Evidence { data } => open.evidence.push(data.clone()),
                    // That it has not happened says nothing of what was done after that was said.
                    Entry::Decided { done, .. } => open.decided = *done,
                    Entry::Outcome { result, .. } => {
                        open.result = Some(result.clone());
                        return true;
                    }
                    _ => {}
                }
            }
        }
        false
    }
}
