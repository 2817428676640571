use crate::plain::hidden;
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, VecDeque},
    future::pending,
    time::Instant,
};
use tokio::io::{AsyncRead, AsyncReadExt};

/// Shorter values are words like `yes` and `8080`, whose absence would tear a text apart and protect nothing.
const SHORTEST_SECRET: usize = 6;

/// Takes the values of an environment out of texts that leave a driver: they may be secrets, and programs print them.
#[derive(Clone, Debug, Default)]
pub struct Redaction(Vec<String>);

impl Redaction {
    pub fn new(env: &BTreeMap<String, String>) -> Self {
        let lines = env.values().flat_map(|value| value.lines()).map(str::trim);
        let mut secrets: Vec<String> = lines.filter(|l| l.len() >= SHORTEST_SECRET).map(ToOwned::to_owned).collect();
        // One that contains another goes first.
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        secrets.dedup();
        Self(secrets)
    }

    pub fn text(&self, bytes: &[u8]) -> String {
        let mut text = String::from_utf8_lossy(bytes).into_owned();
        for secret in &self.0 {
            if text.contains(secret) {
                text = text.replace(secret, "***");
            }
        }
        text
    }

    /// One line of a program, fit for a terminal: nothing in it moves the cursor or changes the direction of writing.
    pub fn line(&self, bytes: &[u8]) -> String {
        let mut line = self.text(bytes);
        line.truncate(line.trim_end_matches(['\n', '\r']).len());
        if line.chars().any(moves) { line.replace(moves, "\u{fffd}") } else { line }
    }

    fn longest(&self) -> usize {
        self.0.first().map_or(0, String::len)
    }
}

fn moves(c: char) -> bool {
    hidden(c) && c != '\t'
}

/// The beginning of a text that may be too long.
pub fn bounded(text: &str, max: usize) -> String {
    if text.len() <= max {
        return text.to_owned();
    }
    format!("{}…", &text[..text.floor_char_boundary(max.saturating_sub('…'.len_utf8()))])
}

/// What a program writes: its beginning is kept, its end is remembered, the rest is counted.
#[derive(Default, Serialize, Deserialize)]
pub struct Collected {
    kept: Vec<u8>,
    max: usize,
    cut: u64,
    end: VecDeque<u8>,
    end_cut: bool,
}

const END: usize = 4 << 10;

impl Collected {
    pub fn new(max: usize) -> Self {
        Self { max, ..Self::default() }
    }

    pub fn push(&mut self, bytes: &[u8]) {
        let room = bytes.len().min(self.max - self.kept.len());
        self.kept.extend_from_slice(&bytes[..room]);
        self.cut += (bytes.len() - room) as u64;
        self.end.extend(&bytes[bytes.len().saturating_sub(END)..]);
        if self.end.len() > END {
            self.end_cut = true;
            self.end.drain(..self.end.len() - END);
        }
    }

    /// Whole, or its beginning and a line that says how much is missing.
    pub fn text(&self, redaction: &Redaction) -> String {
        let mut text = redaction.text(&self.kept);
        if self.cut > 0 || text.len() > self.max {
            // Room for the line, and for a secret of which only a part was kept.
            let end = text.floor_char_boundary(self.max.saturating_sub(100 + redaction.longest()).min(text.len()));
            let missing = self.cut + (text.len() - end) as u64;
            text.truncate(end);
            text.push_str(&format!("\n[cut: {missing} bytes more]\n"));
        }
        text
    }

    /// The last lines, empty ones left out.
    pub fn last_lines(&self, count: usize, redaction: &Redaction) -> Vec<String> {
        let end: Vec<u8> = self.end.iter().copied().collect();
        // Without its beginning, a line may hold the rest of a secret that is not recognised any more.
        let whole = match end.iter().position(|b| *b == b'\n') {
            Some(first) if self.end_cut => &end[first + 1..],
            None if self.end_cut => &end[redaction.longest().min(end.len())..],
            _ => &end[..],
        };
        let mut lines: Vec<String> =
            whole.split(|b| *b == b'\n').map(|l| redaction.line(l)).filter(|l| !l.trim().is_empty()).collect();
        lines.drain(..lines.len().saturating_sub(count));
        lines
    }
}

/// One output of a program. It is drained to its end, whatever is kept of it: a program must not stand still.
pub struct Stream {
    source: Option<Box<dyn AsyncRead + Send + Unpin>>,
    buffer: Vec<u8>,
    pub collected: Collected,
    /// when it last said something
    pub last: Option<Instant>,
}

impl Stream {
    pub fn new(source: Option<Box<dyn AsyncRead + Send + Unpin>>, max: usize) -> Self {
        Self { source, buffer: vec![0; 16 << 10], collected: Collected::new(max), last: None }
    }

    pub fn open(&self) -> bool {
        self.source.is_some()
    }

    /// Waits for ever when it is at its end.
    pub async fn read(&mut self) {
        let Some(source) = &mut self.source else { return pending().await };
        match source.read(&mut self.buffer).await {
            Ok(n @ 1..) => {
                self.collected.push(&self.buffer[..n]);
                self.last = Some(Instant::now());
            }
            _ => self.source = None,
        }
    }

    /// What was read so far, and the rest, which nobody keeps.
    pub fn split(self) -> (Self, Collected) {
        (Self::new(self.source, 0), self.collected)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn redaction() -> Redaction {
        let env =
            [("PASSWORD", "hunter2-and-more"), ("SHORT", "hunter2"), ("PORT", "8080"), ("KEY", "-- begin\nabcdef\n")];
        Redaction::new(&env.map(|(k, v)| (k.to_owned(), v.to_owned())).into())
    }

    #[test]
    fn lines_hold_no_secret_and_move_no_cursor() {
        let line = |bytes: &[u8]| redaction().line(bytes);
        assert_eq!(line(b"with hunter2-and-more on 8080\r\n"), "with *** on 8080");
        assert_eq!(line(b"hunter2"), "***");
        assert_eq!(line(b"key abcdef"), "key ***");
        assert_eq!(line("\x1b[31mred\x07 \u{202e}txt.exe a\tb \u{9b}1m".as_bytes()), "�[31mred� �txt.exe a\tb �1m");
        assert_eq!(line(b"caf\xe9"), "caf�");
    }

    #[test]
    fn what_is_too_much_is_cut_and_says_so() {
        let mut output = Collected::new(1000);
        output.push(b"first line\n");
        assert_eq!(output.text(&redaction()), "first line\n");
        output.push(&[b'x'; 2000]);
        output.push(b"\nlast but one\n\nlast hunter2\n");
        let text = output.text(&redaction());
        assert!(
            text.len() <= 1000 && text.starts_with("first line\nxxx") && text.ends_with(" bytes more]\n"),
            "{text}"
        );
        assert_eq!(output.last_lines(2, &redaction()), ["last but one", "last ***"]);
    }

    #[test]
    fn a_secret_that_is_cut_in_two_is_not_half_told() {
        let mut output = Collected::new(1000);
        output.push(&[b'x'; 990]);
        output.push(b"hunter2-and-more");
        output.push(&[b'y'; END - 6]);
        assert!(!output.text(&redaction()).contains("hunter"));
        let end = output.last_lines(1, &redaction()).concat();
        assert!(end.starts_with('y'), "{end}");
    }

    #[test]
    fn a_bound_falls_between_characters() {
        assert_eq!(bounded("añb", 10), "añb");
        assert_eq!(bounded("aaañb", 5), "aa…");
        assert_eq!(bounded("ñññ", 5), "ñ…");
    }
}
