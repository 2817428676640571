//! Rows as text, for the width and the colours that there are.
use super::board::{Live, Mark, Row};
use crate::report::text;
use console::{Style, measure_text_width, truncate_str};

/// What the display is written on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Paper {
    /// columns; `None`: whatever it takes, as in a file
    pub width: Option<usize>,
    pub colour: bool,
}

/// Where texts begin, so that they stand under one another.
const NAME: usize = 20;
const BAR: usize = 14;
const SPINNER: [&str; 10] = ["⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧", "⠇", "⠏"];

impl Paper {
    fn style(self, style: Style, text: &str) -> String {
        style.force_styling(self.colour).apply_to(text).to_string()
    }

    /// One line, or more where everything has to be said.
    pub fn row(self, row: &Row) -> Vec<String> {
        let (mark, style) = match row.mark {
            Mark::Started => ("…", Style::new().dim()),
            Mark::Done => ("✓", Style::new().green()),
            Mark::Failed => ("✗", Style::new().red()),
            Mark::Again => ("↻", Style::new().yellow()),
            Mark::News => (" ", Style::new()),
            Mark::Said => (" ", Style::new()),
            Mark::Warning => ("!", Style::new().yellow()),
            Mark::Log => (" ", Style::new().dim()),
            Mark::Open => ("?", Style::new().yellow()),
        };
        let mark = self.style(style, mark);
        // What belongs to no step begins at once.
        let lead = match row.name.as_str() {
            "" => format!("{mark} "),
            name => format!("{mark} {}  ", padded(name, NAME)),
        };
        match self.width {
            None => vec![[lead.as_str(), &spaced(&row.text, &row.time)].concat().trim_end().to_owned()],
            Some(width) => self.fitted(row, &lead, width),
        }
    }

    fn fitted(self, row: &Row, lead: &str, width: usize) -> Vec<String> {
        let begin = measure_text_width(lead);
        let time = if row.time.is_empty() { String::new() } else { format!("  {}", row.time) };
        let room = width.saturating_sub(begin + measure_text_width(&time)).max(12);
        // Why something failed and what people are told is said to the end; the rest is cut.
        let whole = matches!(row.mark, Mark::Failed | Mark::Again | Mark::Warning | Mark::Said);
        let lines = if whole {
            text::wrapped(&row.text, room)
        } else {
            vec![truncate_str(&row.text, room, "…").into_owned()]
        };
        let mut lines = lines.into_iter();
        let first = lines.next().unwrap_or_default();
        let gap = room.saturating_sub(measure_text_width(&first));
        let time = if time.is_empty() {
            time
        } else {
            format!("{}{}", " ".repeat(gap), self.style(Style::new().dim(), &time))
        };
        let first = format!("{lead}{first}{time}").trim_end().to_owned();
        let rest = lines.map(|line| format!("{}{line}", " ".repeat(begin)));
        std::iter::once(first).chain(rest).collect()
    }

    /// `tick` turns the spinner. Always one line, and never wider than the paper: a line that wraps could not be taken back.
    pub fn live(self, live: &Live, tick: usize) -> String {
        let width = self.width.unwrap_or(80).max(20);
        let spinner = self.style(Style::new().cyan(), SPINNER[tick % SPINNER.len()]);
        let name = padded(&live.name, NAME);
        let begin = 2 + measure_text_width(&name) + 2;
        let elapsed = live.time.split(" of ").next().unwrap_or_default();
        let text = if width < begin + 16 + measure_text_width(&live.time) { elapsed } else { &live.time };
        let time = measure_text_width(text);
        let told = self.style(Style::new().dim(), text);
        // What there is no room for is left out: first the bar, then the estimate, then the text.
        let bar = live.part.filter(|_| width >= begin + 20 + BAR + 4 + time).map(|part| self.bar(part));
        let right = bar.as_ref().map_or(0, |_| BAR + 2) + time;
        let room = width.saturating_sub(begin + right + 3);
        let text = padded(&truncate_str(&live.text, room, "…"), room);
        let bar = bar.map_or(String::new(), |bar| format!("{bar}  "));
        let line = format!("{spinner} {name}  {text}  {bar}{told}");
        truncate_str(&line, width - 1, "").into_owned()
    }

    fn bar(self, part: f64) -> String {
        let full = (part * BAR as f64).floor() as usize;
        let half = usize::from(full < BAR && part * BAR as f64 - full as f64 >= 0.5);
        let done = format!("{}{}", "━".repeat(full), "╸".repeat(half));
        let rest = "─".repeat(BAR - full - half);
        format!("{}{}", self.style(Style::new().cyan(), &done), self.style(Style::new().dim(), &rest))
    }
}

fn padded(text: &str, width: usize) -> String {
    format!("{text}{}", " ".repeat(width.saturating_sub(measure_text_width(text))))
}

fn spaced(text: &str, time: &str) -> String {
    if text.is_empty() { time.to_owned() } else { format!("{text}  {time}") }
}
