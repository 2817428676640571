//! Lines of a log, whatever it is kept in.
use super::super::{MAX_LINE_BYTES, MAX_LINES};
use crate::resource::{
    Failure,
    process::{Redaction, bounded},
};
use std::io::{self, BufRead, BufReader, Read};

/// Lines are looked at in pieces of this size.
pub const MAX_PIECE: u64 = 64 << 10;
/// A returned line is no longer than this.
const MAX_LINE: usize = 4 << 10;

/// Why lines since a position cannot be told.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    #[error("{0}")]
    Missing(&'static str),
    #[error("the log cannot be read: {0}")]
    Io(#[from] io::Error),
}

impl From<Unreadable> for Failure {
    fn from(unreadable: Unreadable) -> Self {
        match unreadable {
            Unreadable::Missing(what) => Self::inconclusive(what),
            error @ Unreadable::Io(_) => Self::failed(error.to_string()),
        }
    }
}

/// Gives every line to `see`, without its end, until that has seen enough. A part of a line counts as one.
pub fn each(log: impl Read, mut see: impl FnMut(&[u8]) -> bool) -> io::Result<()> {
    let mut log = BufReader::new(log);
    let mut line = Vec::new();
    loop {
        line.clear();
        if (&mut log).take(MAX_PIECE).read_until(b'\n', &mut line)? == 0 {
            return Ok(());
        }
        if line.ends_with(b"\n") {
            line.pop();
        }
        if !see(&line) {
            return Ok(());
        }
    }
}

/// The lines of a search, as many as an answer may have.
pub struct Search<'s> {
    texts: &'s [String],
    redaction: &'s Redaction,
    found: Vec<String>,
    room: usize,
}

impl<'s> Search<'s> {
    pub fn new(texts: &'s [String], redaction: &'s Redaction) -> Self {
        Self { texts, redaction, found: Vec::new(), room: MAX_LINE_BYTES }
    }

    /// Whether more is wanted.
    pub fn see(&mut self, line: &[u8]) -> bool {
        // Compared as it is shown, so that nobody learns a secret by asking for it piece by piece.
        let line = self.redaction.line(line);
        if self.texts.iter().any(|text| line.contains(text.as_str())) {
            let line = bounded(&line, MAX_LINE);
            let Some(left) = self.room.checked_sub(line.len()) else { return false };
            self.room = left;
            self.found.push(line);
        }
        self.found.len() < MAX_LINES
    }

    pub fn found(self) -> Vec<String> {
        self.found
    }
}
