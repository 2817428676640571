//! What the drivers of servers have in common.
use crate::{
    plain,
    resource::{
        CallCtx, Failure,
        database::{MAX_BYTES, MAX_ROWS, Session},
    },
};
use std::{future::Future, time::Duration};

/// How often a look is taken at what has to go first.
pub const POLL: Duration = Duration::from_millis(50);

/// What cannot be done, and the statement that makes it possible.
#[derive(Debug)]
pub struct Lacking {
    pub what: String,
    pub say: String,
}

/// For what has no call: it only looks, at names and settings.
pub fn soon() -> CallCtx {
    CallCtx::aside("look".to_owned(), Duration::from_secs(60))
}

pub fn over() -> Failure {
    Failure::timed_out("its time is over")
}

/// Until the time of the call is over. What is dropped then ends at the server as well.
pub async fn in_time<T>(call: &CallCtx, work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    tokio::time::timeout_at(call.deadline.into(), work).await.unwrap_or_else(|_| Err(over()))
}

/// The same, for what only looks: it ends when the operator wants to stop.
pub async fn while_wanted<T>(call: &CallCtx, work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    tokio::select! {
        biased;
        () = call.cancel.cancelled() => Err(Failure::timed_out("its time is over, or the run was stopped")),
        result = in_time(call, work) => result,
    }
}

pub fn limit_length(sql: &str, most: usize) -> Result<(), Failure> {
    if sql.len() > most {
        return Err(Failure::invalid(format!("the statement is longer than {most} bytes")));
    }
    if sql.contains('\0') {
        return Err(Failure::invalid("a statement has no NUL in it"));
    }
    Ok(())
}

pub fn too_much() -> Failure {
    Failure::invalid(format!("the answer has more than {MAX_ROWS} rows or {MAX_BYTES} bytes"))
}

/// Names that others have given.
pub fn short(name: &str) -> String {
    plain::shown(&name.chars().take(60).collect::<String>())
}

/// For people: the first ones by name.
pub fn named<'s>(sessions: impl ExactSizeIterator<Item = &'s Session>) -> String {
    const FIRST: usize = 3;
    let more = sessions.len().saturating_sub(FIRST);
    let mut names: Vec<String> = sessions.take(FIRST).map(|session| session.who.clone()).collect();
    if more > 0 {
        names.push(format!("{more} more"));
    }
    names.join(", ")
}
