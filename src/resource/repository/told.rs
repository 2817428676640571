//! What goes wrong in a repository, in Backout's words. Those of `rustic_core` name paths of the host, so they are for the operator.
use super::Repository;
use crate::resource::{Failure, room};
use rustic_core::RusticError;
use std::{
    error::Error,
    io,
    panic::{AssertUnwindSafe, catch_unwind},
};

/// `trouble`: what the files themselves have said last, which may be more to the point.
pub fn told(repository: &Repository, what: &str, error: &RusticError, trouble: Option<&io::Error>) -> Failure {
    let log = error.display_log();
    tracing::warn!(repository = repository.name, error = log, "the repository cannot do it");
    if error.is_incorrect_password() {
        let failure = Failure::unavailable(format!("the password of repository `{}` is wrong", repository.name));
        return failure
            .hint("`password` in the site is not one of those that open it; `restic key list` shows its keys");
    }
    let mut next: Option<&(dyn Error + 'static)> = error.source();
    while let Some(source) = next {
        if let Some(source) = source.downcast_ref::<io::Error>() {
            return said(repository, what, source, &log);
        }
        next = source.source();
    }
    match trouble {
        Some(trouble) => said(repository, what, trouble, &log),
        None => {
            let message = format!("repository `{}` is damaged: failed to {what}", repository.name);
            Failure::failed(message).hint(format!(
                "{}; `backout repository check {}` looks through all of it, `restic repair` may help",
                one_line(&log),
                repository.name
            ))
        }
    }
}

pub fn trouble(repository: &Repository, what: &str, error: &io::Error) -> Failure {
    said(repository, what, error, "")
}

fn said(repository: &Repository, what: &str, error: &io::Error, log: &str) -> Failure {
    let (name, path) = (&repository.name, repository.path.display());
    if room::is_none(error) {
        let failure = Failure::failed(format!("there is no room left in repository `{name}`"));
        return failure.hint(format!("make room on the file system of {path}"));
    }
    let log = if log.is_empty() { String::new() } else { format!(": {}", one_line(log)) };
    if error.kind() == io::ErrorKind::NotFound {
        let failure = Failure::failed(format!("repository `{name}`: failed to {what}: a file of it is missing"));
        return failure.hint(format!("look whether {path} is mounted whole{log}"));
    }
    if error.kind() == io::ErrorKind::UnexpectedEof {
        let failure = Failure::failed(format!("repository `{name}` is damaged: a file of it is too short"));
        return failure.hint(format!("it is in {path}{log}"));
    }
    Failure::failed(format!("repository `{name}`: failed to {what}: {error}")).hint(format!("it is in {path}{log}"))
}

/// What was read could not be written to where it belongs, which is not the repository.
pub fn written(error: &io::Error) -> Failure {
    if room::is_none(error) {
        return room::none("there is no room left for what comes out of the archive");
    }
    Failure::failed(format!("failed to write what comes out of the archive: {error}"))
}

fn one_line(text: &str) -> String {
    const LONGEST: usize = 400;
    let words: Vec<&str> = text.split_whitespace().collect();
    crate::plain::shown(&words.join(" ")).chars().take(LONGEST).collect()
}

/// A repository is read that others can write, and `rustic_core` panics on some of what can stand there.
pub fn panics<T>(what: &str, work: impl FnOnce() -> Result<T, Failure>) -> Result<T, Failure> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|payload| {
        let text = payload.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or("no word why");
        let failure = Failure::failed(format!("{what} broke off: the repository may be damaged"));
        Err(failure.hint(one_line(text)))
    })
}
