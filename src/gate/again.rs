//! An operation that the journal holds: its answer is given again; what was begun and did not end is looked into.
use super::{
    Error, Gate, Mode, Stop,
    carry::Doing,
    class::Class,
    denied, denied_label,
    operation::Operation,
    past::{Asked, Told},
    quota::json_size,
};
use crate::{
    journal::{self, Entry, Look},
    resource::{Earlier, Lent, Resources},
};
use serde::Deserialize;
use serde_json::Value;
use std::{fmt, io, time::Instant};

/// A script that runs again does something else than it did before.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Divergence {
    /// `upgrade/install`
    pub place: String,
    pub attempt: u32,
    /// of the operation within the attempt
    pub sequence: u32,
    /// of the journal's entry; 0: it holds none
    pub number: i64,
    pub expected: String,
    pub got: String,
}

impl fmt::Display for Divergence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { place, sequence, expected, got, .. } = self;
        write!(f, "{place}, operation {sequence}: the journal has {expected}, the script now has {got}")
    }
}

impl Gate {
    pub(super) fn told(&self, sequence: u32) -> Result<Option<Told>, Stop> {
        let Some(past) = self.past() else { return Ok(None) };
        past.take(sequence).map_err(|error| self.unreadable(error))
    }

    fn unreadable(&self, error: journal::Error) -> Stop {
        let stop = match self.journal() {
            Some(journal) => Stop::Unreadable(error.unreadable(journal.path())),
            None => Stop::Unreadable(error.to_string()),
        };
        if let Some(past) = self.past() {
            past.unreadable(error);
        }
        stop
    }

    fn of_another_type<O: Operation>(&self, told: &Told, error: &serde_json::Error) -> Stop {
        let reason = format!("the outcome of {}: {error}", O::NAME);
        self.unreadable(journal::Error::Damaged { id: told.number, reason })
    }

    fn divergence(&self, sequence: u32, number: i64, expected: String, got: String) -> Box<Divergence> {
        let (place, attempt) = (self.place.title(), self.place.attempt);
        let (expected, got) = (shortened(expected), shortened(got));
        Box::new(Divergence { place, attempt, sequence, number, expected, got })
    }

    /// The journal has no such operation.
    pub(super) fn beyond<O: Operation>(&self, operation: &O, sequence: u32) -> Stop {
        match self.past().and_then(super::Past::end) {
            // Which call a limit of the machine strikes is chance.
            None | Some(Entry::StepEnded { limit: true, .. }) => Stop::PastEnds,
            Some(_) => Stop::Diverged(self.divergence(sequence, 0, "the end".to_owned(), plainly::<O>(operation))),
        }
    }

    pub(super) async fn again<O: Operation>(
        &self,
        resources: &Resources,
        operation: O,
        told: Told,
    ) -> Result<O::Output, Error>
    where
        Resources: AsRef<Lent<O::On>>,
    {
        if let Asked::Looked(look) = &told.asked
            && let Some(output) = self.looked(&operation, look)
        {
            return Ok(output);
        }
        let number = told.number;
        let told = told.whole().map_err(|error| self.unreadable(error))?;
        let request = match &told.asked {
            Asked::Looked(_) => {
                let reason = "it is no operation".to_owned();
                return Err(self.unreadable(journal::Error::Damaged { id: number, reason }).into());
            }
            Asked::Denied { operation: name, label } => {
                if name != O::NAME || *label != denied_label(&operation) {
                    let expected = format!("{name} on `{label}`, denied");
                    return Err(self.differs(&told, expected, &operation).into());
                }
                return Err(denied(&operation).into());
            }
            Asked::Granted(request) => request,
        };
        if request.operation != O::NAME || request.label != operation.label() || !same(&operation, &request.request) {
            let expected = format!("{} {}", request.operation, brief(&said::<O>(Some(request.request.clone()))));
            return Err(self.differs(&told, expected, &operation).into());
        }
        // What a run that goes on has used up; a replay adds nothing to any journal.
        if self.journal().is_some() {
            self.written.add(json_size(&request.request));
            told.evidence.iter().for_each(|data| self.written.add(json_size(data)));
            told.result.iter().for_each(|result| self.written.add(json_size(result)));
        }
        match &told.result {
            Some(result) => {
                let result = match result {
                    Ok(value) => {
                        Ok(O::Output::deserialize(value).map_err(|error| self.of_another_type::<O>(&told, &error))?)
                    }
                    Err(failure) => Err(failure.clone()),
                };
                self.remember_hint(&result);
                Ok(result?)
            }
            None => self.go_on(resources, &operation, told).await,
        }
    }

    /// The answer, where the script says word for word what it said.
    fn looked<O: Operation>(&self, operation: &O, look: &Look) -> Option<O::Output> {
        if look.operation() != O::NAME || look.label() != operation.label() {
            return None;
        }
        let request = look.request();
        if !is_written_as(operation, request) && !same(operation, &serde_json::from_str(request).ok()?) {
            return None;
        }
        let output = serde_json::from_str(look.answer()).ok()?;
        if self.journal().is_some() {
            self.written.add((request.len() + r#"{"Ok":}"#.len() + look.answer().len()) as u64);
        }
        Some(output)
    }

    /// Operations that the journal holds and the script, having come to its end, did not ask for.
    pub fn left(&self) -> Option<Box<Divergence>> {
        let told = self.past()?.next()?;
        let expected = match &told.asked {
            Asked::Looked(look) => {
                format!("{} {}", look.operation(), brief(&serde_json::from_str(look.request()).unwrap_or_default()))
            }
            Asked::Denied { operation, label } => format!("{operation} on `{label}`, denied"),
            Asked::Granted(request) => format!("{} {}", request.operation, brief(&request.request)),
        };
        Some(self.divergence(told.sequence, told.number, expected, "the end".to_owned()))
    }

    fn differs<O: Operation>(&self, told: &Told, expected: String, operation: &O) -> Stop {
        Stop::Diverged(self.divergence(told.sequence, told.number, expected, plainly::<O>(operation)))
    }

    /// It was begun, and the journal has no end of it.
    async fn go_on<O: Operation>(&self, resources: &Resources, operation: &O, told: Told) -> Result<O::Output, Error>
    where
        Resources: AsRef<Lent<O::On>>,
    {
        let Mode::Live(journal) = &self.mode else { return Err(Stop::PastEnds.into()) };
        let Asked::Granted(request) = told.asked else { return Err(Stop::PastEnds.into()) };
        let (number, label) = (told.number, request.label.clone());
        let lent: &Lent<O::On> = resources.as_ref();
        let granted = lent.0.get(&label).filter(|lend| O::RIGHT.is_none_or(|right| lend.rights.allow(right)));
        let Some(lend) = granted.filter(|lend| lend.id.to_string() == request.resource) else {
            let look = format!("it is not granted any more, so nobody could look at {}", request.resource);
            return Err(Stop::InDoubt { operation: O::NAME.to_owned(), label, number, look }.into());
        };
        let earlier = Earlier { at: told.at, evidence: told.evidence };
        let doing: Doing<'_, O> = self.doing(journal, resources, lend, operation, told.sequence).after(earlier);
        if !O::Class::CHANGES {
            return self.observe(&doing, request).await;
        }
        let began = Instant::now();
        if told.decided {
            return self.conclude(&doing, operation.presumed(), began).await;
        }
        match self.look(&doing, "the process that did it was ended; ").await? {
            Some(result) => self.conclude(&doing, result, began).await,
            None => self.carry_out(&doing).await,
        }
    }
}

/// Whether this is its text, byte for byte. What is not may mean the same.
fn is_written_as(operation: &impl Operation, text: &str) -> bool {
    struct Compared<'a>(&'a [u8]);
    impl io::Write for Compared<'_> {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 = self.0.strip_prefix(bytes).ok_or(io::ErrorKind::InvalidData)?;
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut compared = Compared(text.as_bytes());
    serde_json::to_writer(&mut compared, operation).is_ok() && compared.0.is_empty()
}

/// Whether the script says what it said, whatever the host has added then and now.
fn same<O: Operation>(operation: &O, recorded: &Value) -> bool {
    let Ok(now) = serde_json::to_value(operation) else { return false };
    let (Some(now), Some(recorded)) = (now.as_object(), recorded.as_object()) else { return now == *recorded };
    let own = |(name, _): &(&String, &Value)| !O::GIVEN.contains(&name.as_str());
    now.iter().filter(own).eq(recorded.iter().filter(own))
}

/// What the script itself says, without what the host adds.
pub(super) fn says<O: Operation>(operation: &O) -> Value {
    said::<O>(serde_json::to_value(operation).ok())
}

fn said<O: Operation>(request: Option<Value>) -> Value {
    let mut request = request.unwrap_or_default();
    if let Some(fields) = request.as_object_mut() {
        O::GIVEN.iter().for_each(|name| drop(fields.remove(*name)));
    }
    request
}

fn plainly<O: Operation>(operation: &O) -> String {
    format!("{} {}", O::NAME, brief(&says(operation)))
}

/// Enough to see what is meant.
pub(super) fn brief(request: &Value) -> String {
    cut(request.to_string(), 200)
}

/// What stands in a journal may be of any length.
fn shortened(text: String) -> String {
    cut(text, 1_000)
}

fn cut(text: String, length: usize) -> String {
    match text.char_indices().nth(length) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}
