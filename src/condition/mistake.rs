use crate::plain::hidden;
use std::{fmt, ops::Range};

/// Columns of the condition that are shown around a mistake.
const WINDOW: usize = 100;

/// Why a condition was not understood, with its place.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Mistake {
    /// The part of the text that is wrong; empty at the end.
    pub at: Range<usize>,
    /// What belongs there, or why what is there is wrong.
    pub problem: String,
    /// What was probably meant.
    pub hint: Option<String>,
    /// The name that is not known here, when that is the mistake.
    pub unknown: Option<String>,
    text: String,
}

impl Mistake {
    pub(super) fn new(text: &str, wrong: super::parse::Wrong) -> Self {
        let super::parse::Wrong { at, problem, hint, unknown } = wrong;
        Self { at, problem, hint, unknown, text: text.to_owned() }
    }
}

/// The problem, the text, and a line that points at the place.
impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // One column per character, so that the line below points at the right one.
        let shown: Vec<char> = self.text.chars().map(|c| if hidden(c) { ' ' } else { c }).collect();
        let column = |byte: usize| self.text.char_indices().take_while(|&(i, _)| i < byte).count();
        let (start, end) = (column(self.at.start), column(self.at.end));
        let first = if shown.len() <= WINDOW { 0 } else { start.saturating_sub(WINDOW / 2).min(shown.len() - WINDOW) };
        let last = shown.len().min(first + WINDOW);
        let (before, after) = (if first > 0 { "…" } else { "" }, if last < shown.len() { "…" } else { "" });
        let part: String = shown[first..last].iter().collect();
        let indent = " ".repeat(start - first + before.chars().count());
        let carets = "^".repeat(end.min(last).saturating_sub(start).max(1));
        let hint = self.hint.as_ref().map(|hint| format!(" {hint}")).unwrap_or_default();
        let line = format!("  {before}{part}{after}");
        write!(f, "{}\n{}\n  {indent}{carets}{hint}", self.problem, line.trim_end())
    }
}
