use crate::plain::hidden;
use std::{fmt, ops::Range, sync::Arc};

/// A file as it was read.
pub struct Source {
    name: String,
    text: String,
    /// Where the file stops being UTF-8, in bytes; `text` has replacement characters from there on.
    broken: Option<usize>,
}

impl Source {
    pub fn new(name: impl Into<String>, bytes: Vec<u8>) -> Arc<Self> {
        let (text, broken) = match String::from_utf8(bytes) {
            Ok(text) => (text, None),
            Err(error) => {
                let broken = error.utf8_error().valid_up_to();
                (String::from_utf8_lossy(error.as_bytes()).into_owned(), Some(broken))
            }
        };
        Arc::new(Self { name: super::shown(&name.into()), text, broken })
    }
    pub fn name(&self) -> &str {
        &self.name
    }
    pub fn text(&self) -> &str {
        &self.text
    }
    pub fn broken(&self) -> Option<usize> {
        self.broken
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Source({})", self.name)
    }
}

/// A place in a file.
#[derive(Clone, Debug)]
pub struct Location {
    pub source: Arc<Source>,
    /// bytes
    pub span: Range<usize>,
}

impl PartialEq for Location {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.source, &other.source) && self.span == other.span
    }
}
impl Eq for Location {}

/// `file:line`
impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.source.name, self.line_and_column().0)
    }
}

/// The most of a line that is shown.
const WIDEST: usize = 110;

impl Location {
    pub fn new(source: &Arc<Source>, span: Range<usize>) -> Self {
        Self { source: source.clone(), span }
    }

    /// The start of the span, brought to the boundary of a character of the text.
    fn start(&self) -> usize {
        floor(&self.source.text, self.span.start)
    }

    /// Both count from 1; columns are characters.
    pub fn line_and_column(&self) -> (usize, usize) {
        let before = &self.source.text[..self.start()];
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        (line, column)
    }

    /// The line, the columns before the caret, and the width of the caret.
    pub fn excerpt(&self) -> (String, usize, usize) {
        let text = &self.source.text;
        let start = self.start();
        let end = floor(text, self.span.end.max(start));
        let line_start = text[..start].rfind('\n').map_or(0, |i| i + 1);
        let line_end = text[start..].find('\n').map_or(text.len(), |i| start + i);
        let before: Vec<char> = text[line_start..start].chars().collect();
        let marked: Vec<char> = text[start..end.min(line_end)].chars().collect();
        let after = if marked.len() > WIDEST / 2 { "" } else { &text[end.min(line_end).max(start)..line_end] };
        // A long line is cut around its mark.
        let cut_before = before.len().saturating_sub(WIDEST / 2);
        let head = if cut_before > 0 { "…" } else { "" };
        let head: String = head.chars().chain(before[cut_before..].iter().copied().map(plain)).collect();
        let mark: String = marked.iter().take(WIDEST / 2).copied().map(plain).collect();
        let room = WIDEST.saturating_sub(head.chars().count() + mark.chars().count());
        let rest: Vec<char> = after.chars().take(room + 1).map(plain).collect();
        let mut line = format!("{head}{mark}");
        line.extend(rest.iter().take(room));
        if marked.len() > WIDEST / 2 || rest.len() > room {
            line.push('…');
        }
        let line = line.trim_end().to_owned();
        (line, console::measure_text_width(&head), console::measure_text_width(&mark).max(1))
    }
}

fn floor(text: &str, mut at: usize) -> usize {
    at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

fn plain(c: char) -> char {
    match c {
        '\t' => ' ',
        '\r' => ' ',
        c if !hidden(c) => c,
        _ => '\u{FFFD}',
    }
}
