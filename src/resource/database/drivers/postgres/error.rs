//! What the server's errors mean, in words that name no host, no path, no password and nothing of a statement but the names of
//! what it is about. A server repeats parts of a statement in its messages, and statements may hold secrets.
use crate::resource::{Failure, http, room};
use std::{error::Error as _, io};
use tokio_postgres::{
    Error,
    error::{DbError, SqlState},
};

pub const FULL: &str = "there is no room left on the server's disk";

pub fn told(error: Error) -> Failure {
    if let Some(said) = error.as_db_error() {
        return said_by_server(said);
    }
    if let Some(io) = cause(&error) {
        if io.get_ref().is_some_and(|inner| inner.is::<rustls::Error>()) {
            return Failure::unavailable("no secure connection: the server's certificate or protocol is not accepted")
                .hint(
                    "`sslmode=verify-full` asks for a certificate that this host trusts and that bears the host's name",
                );
        }
        return cannot_connect(io);
    }
    if error.is_closed() {
        return Failure::unavailable("the server closed the connection");
    }
    match error.to_string().as_str() {
        // The texts of the library are its own; none holds what it was given.
        text if text.contains("error performing TLS handshake") => {
            Failure::unavailable("no secure connection: the server offers none")
                .hint("`sslmode=prefer` in the url goes without, where the server has none")
        }
        text if text.contains("authentication error") || text.contains("invalid configuration") => {
            Failure::denied("the server asks for a password, or for one of another kind")
                .hint("say `password = { file = \"secrets/…\" }` in the section of the database")
        }
        text if text.contains("unexpected message") => {
            Failure::invalid("the server waits for data that nothing sends (`COPY … FROM STDIN`)")
        }
        _ => Failure::failed("the server's answer is not understood"),
    }
}

pub fn cannot_connect(error: &io::Error) -> Failure {
    if error.kind() == io::ErrorKind::NotFound {
        return Failure::unavailable("no server is there");
    }
    if error.kind() == io::ErrorKind::PermissionDenied {
        return Failure::unavailable("the server's socket may not be opened");
    }
    Failure::unavailable(http::io_words(error.kind()).unwrap_or("no connection"))
}

fn cause(error: &Error) -> Option<&io::Error> {
    let mut source = error.source();
    while let Some(cause) = source {
        if let Some(io) = cause.downcast_ref::<io::Error>() {
            return Some(io);
        }
        source = cause.source();
    }
    None
}

pub fn is(error: &Error, state: &SqlState) -> bool {
    error.code() == Some(state)
}

fn said_by_server(said: &DbError) -> Failure {
    let code = said.code().code();
    let class = code.get(..2).unwrap_or_default();
    match (class, code) {
        (_, "28P01" | "28000") => Failure::denied("the server does not let Backout in: wrong user, password or rule")
            .hint("look at `url` and `password` in the section of the database, and at the server's pg_hba.conf"),
        (_, "3D000") => Failure::not_found("the server has no such database"),
        (_, "57014") => Failure::timed_out("its time is over, or the run was stopped"),
        (_, "25P03" | "25P04") => Failure::timed_out("its time is over"),
        (_, "55P03") => Failure::unavailable("somebody else has a lock on it"),
        (_, "40001" | "40P01") => Failure::unavailable("others worked on the same rows at the same time"),
        (_, "42501") => Failure::denied(names(said)).hint(missing(said.message())),
        (_, "53100") => room::none(FULL),
        (_, "53300") => Failure::unavailable("the server has no connection left"),
        ("53", _) => Failure::unavailable("the server has not enough memory or other means"),
        (_, "57P01") => Failure::unavailable("the connection was ended at the server"),
        ("57", _) => Failure::unavailable("the server starts, stops or recovers"),
        ("08", _) => Failure::unavailable("the server closed the connection"),
        (_, "25006") => Failure::invalid("only what reads is allowed here"),
        (_, "42P01" | "3F000") => Failure::not_found(names(said)),
        (_, "42601") => Failure::invalid("the statement is not understood, or is more than one"),
        (_, "42703" | "42883" | "42704" | "42P07" | "42701" | "42710" | "42P06" | "42723") => {
            Failure::invalid(names(said))
        }
        ("42" | "25" | "2D" | "0A" | "22" | "26" | "34", _) => {
            Failure::invalid(format!("the server refuses the statement ({})", meaning(code)))
        }
        ("23", _) => Failure::failed(match (said.constraint(), said.table()) {
            (Some(constraint), Some(table)) => format!("constraint {constraint} of {table} does not hold"),
            (None, Some(table)) => format!("a constraint of {table} does not hold"),
            _ => "a constraint does not hold".to_owned(),
        }),
        // A full disk, as a rule: of a checkpoint that failed it tells no more than this, and not in every language.
        ("XX", _) if said.routine() == Some("RequestCheckpoint") => {
            Failure::failed("the server cannot write what it holds in memory to its disk")
                .hint("make room there; the server's log says more")
        }
        ("XX", _) => Failure::failed(format!("the server finds its data or itself damaged ({code})"))
            .hint("look into the server's log"),
        _ => Failure::failed(format!("the server ended it with error {code}"))
            .hint("the server's log has the whole message"),
    }
}

/// Messages about things that are not there, or not allowed, are made of their names.
fn names(said: &DbError) -> String {
    let message = crate::plain::no_commands(said.message());
    // None of them has a text of the statement in it. Who made this one is not known.
    if message.contains('\'') || message.len() > 300 {
        return format!("the server refuses the statement ({})", meaning(said.code().code()));
    }
    message
}

fn meaning(code: &str) -> String {
    match code {
        "25001" => "it cannot run in a transaction".to_owned(),
        "42601" => "it is not understood".to_owned(),
        "22P02" => "a value has not the form of its type".to_owned(),
        "0A000" => "the server cannot do this here".to_owned(),
        _ => format!("error {code}"),
    }
}

/// What would have to be granted, from what the server says is missing.
fn missing(message: &str) -> String {
    let user = "Backout's user";
    if let Some(what) = message.strip_prefix("permission denied for ") {
        let (kind, name) = what.split_once(' ').unwrap_or((what, "…"));
        let right = match kind {
            "schema" => "USAGE",
            "database" => "CONNECT",
            "function" | "procedure" => "EXECUTE",
            "sequence" => "SELECT, USAGE",
            _ => "SELECT",
        };
        let on = if matches!(kind, "table" | "view") { String::new() } else { format!("{} ", kind.to_uppercase()) };
        return format!("GRANT {right} ON {on}{name} TO {user}; to change it, the right that the statement needs");
    }
    if let Some(what) = message.strip_prefix("must be owner of ") {
        return format!("make {user} a member of the owner of {what}: GRANT owner TO user");
    }
    format!("give {user} the right that the server names")
}
