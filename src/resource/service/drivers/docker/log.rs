//! The log that the daemon keeps of a container. A mark is the time of the last line, to the nanosecond, and is found again by it.
use super::{
    super::lines::{MAX_PIECE, Unreadable},
    daemon::{Daemon, within},
};
use crate::resource::Failure;
use bollard::{container::LogOutput, query_parameters::LogsOptionsBuilder};
use futures_util::StreamExt;
use jiff::Timestamp;
use std::time::Duration;

/// Between two pieces of a log that is there.
const PIECE: Duration = Duration::from_secs(30);

/// `CONTAINER TIME`, or `CONTAINER -` when there was no line yet.
#[derive(Debug, PartialEq, Eq)]
pub struct Place {
    pub container: String,
    pub last: Option<Timestamp>,
}

impl Place {
    pub fn word(&self) -> String {
        let last = self.last.map_or_else(|| "-".to_owned(), |last| last.as_nanosecond().to_string());
        format!("{} {last}", self.container)
    }
    pub fn parse(word: &str) -> Option<Self> {
        let (container, last) = word.split_once(' ')?;
        let last = match last {
            "-" => None,
            last => Some(Timestamp::from_nanosecond(last.parse().ok()?).ok()?),
        };
        Some(Self { container: container.to_owned(), last })
    }
}

/// Lines of one output, from pieces that the daemon may cut where it likes; each piece bears a time.
#[derive(Default)]
struct Pieces {
    began: Option<Timestamp>,
    line: Vec<u8>,
}

impl Pieces {
    /// Gives each line that has come to its end.
    fn add(&mut self, mut bytes: &[u8], see: &mut impl FnMut(Timestamp, &[u8]) -> bool) -> bool {
        while !bytes.is_empty() {
            let (time, rest) = timed(bytes);
            self.began = self.began.or(time);
            let end = rest.iter().position(|byte| *byte == b'\n');
            let part = &rest[..end.unwrap_or(rest.len())];
            let room = usize::try_from(MAX_PIECE).unwrap_or(usize::MAX).saturating_sub(self.line.len());
            self.line.extend_from_slice(&part[..part.len().min(room)]);
            let Some(end) = end else { return true };
            bytes = &rest[end + 1..];
            if !self.finish(see) {
                return false;
            }
        }
        true
    }

    fn finish(&mut self, see: &mut impl FnMut(Timestamp, &[u8]) -> bool) -> bool {
        let more = self.began.is_none_or(|began| see(began, &self.line));
        *self = Self::default();
        more
    }
}

/// A piece without the time before it.
fn timed(piece: &[u8]) -> (Option<Timestamp>, &[u8]) {
    let space = piece.iter().take(40).position(|byte| *byte == b' ');
    let time = space.and_then(|at| std::str::from_utf8(&piece[..at]).ok()?.parse::<Timestamp>().ok());
    match (time, space) {
        (Some(time), Some(at)) => (Some(time), &piece[at + 1..]),
        _ => (None, piece),
    }
}

/// Gives lines with their times to `see`, until that has seen enough.
async fn read(
    daemon: &Daemon,
    container: &str,
    since: Option<Timestamp>,
    tail: &str,
    mut see: impl FnMut(Timestamp, &[u8]) -> bool,
) -> Result<(), Failure> {
    let since = since.map_or(0, |since| i32::try_from(since.as_second()).unwrap_or(0));
    let options =
        LogsOptionsBuilder::default().stdout(true).stderr(true).timestamps(true).since(since).tail(tail).build();
    let mut stream = std::pin::pin!(daemon.client().await?.logs(container, Some(options)));
    let [mut out, mut err] = [Pieces::default(), Pieces::default()];
    loop {
        let next = async { stream.next().await.transpose() };
        let Some(piece) = within(PIECE, next).await? else { break };
        let pieces = if matches!(piece, LogOutput::StdErr { .. }) { &mut err } else { &mut out };
        if !pieces.add(piece.as_ref(), &mut see) {
            return Ok(());
        }
    }
    for pieces in [&mut out, &mut err] {
        if !pieces.line.is_empty() && !pieces.finish(&mut see) {
            break;
        }
    }
    Ok(())
}

pub async fn mark(daemon: &Daemon, id: &str) -> Result<Place, Failure> {
    let mut last = None;
    read(daemon, id, None, "1", |time, _| {
        last = last.max(Some(time));
        true
    })
    .await?;
    Ok(Place { container: id.to_owned(), last })
}

pub async fn lines(
    daemon: &Daemon,
    id: &str,
    since: &Place,
    mut see: impl FnMut(&[u8]) -> bool,
) -> Result<(), Failure> {
    if since.container != id {
        return Err(
            Unreadable::Missing("the container was made again since then, and the earlier log went with it").into()
        );
    }
    let mut met = since.last.is_none();
    read(daemon, id, since.last, "all", |time, line| match since.last {
        Some(last) if time <= last => {
            met |= time == last;
            true
        }
        _ => see(line),
    })
    .await?;
    if met { Ok(()) } else { Err(Unreadable::Missing("the log since then was rotated away in part").into()) }
}

/// All that was said from a time on.
pub async fn lines_from(
    daemon: &Daemon,
    id: &str,
    from: Option<Timestamp>,
    mut see: impl FnMut(&[u8]) -> bool,
) -> Result<(), Failure> {
    read(daemon, id, from, "all", |time, line| from.is_some_and(|from| time < from) || see(line)).await
}

/// The last lines, whenever they were said.
pub async fn last_words(daemon: &Daemon, id: &str, mut see: impl FnMut(&[u8])) -> Result<(), Failure> {
    let tail = |_, line: &[u8]| {
        see(line);
        true
    };
    read(daemon, id, None, "8", tail).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_put_together_from_any_pieces() {
        let mut seen = Vec::new();
        let mut see = |time: Timestamp, line: &[u8]| {
            seen.push(format!("{} {}", time.subsec_nanosecond(), String::from_utf8_lossy(line)));
            true
        };
        let mut pieces = Pieces::default();
        for piece in [
            "2026-01-01T00:00:00.000000001Z one\n2026-01-01T00:00:00.000000002Z two\n",
            "2026-01-01T00:00:00.000000003Z a long ",
            "2026-01-01T00:00:00.000000004Z line\n",
            "2026-01-01T00:00:00.000000005Z \n2026-01-01T00:00:00.000000006Z 2026 was good\n",
        ] {
            assert!(pieces.add(piece.as_bytes(), &mut see));
        }
        assert_eq!(seen, ["1 one", "2 two", "3 a long line", "5 ", "6 2026 was good"]);
    }

    #[test]
    fn a_place_is_read_as_it_was_written() {
        for last in [None, Some(Timestamp::new(1_700_000_000, 123_456_789).unwrap())] {
            let place = Place { container: "abc".to_owned(), last };
            assert_eq!(Place::parse(&place.word()), Some(place));
        }
        assert_eq!(Place::parse("abc"), None);
        assert_eq!(Place::parse("abc x"), None);
    }
}
