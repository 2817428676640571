//! The terminal: results on standard output, everything else on standard error.
use super::{Refused, progress::Paper};
use crate::diagnostic::Mistakes;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use std::{
    io::{self, BufRead, IsTerminal, Read, Write},
    sync::{LazyLock, Mutex, MutexGuard, PoisonError},
};

/// The result of the command. A reader that has gone away is no error.
pub fn result(text: &str) {
    above(|| {
        let mut out = io::stdout().lock();
        let end: &[u8] = if text.ends_with('\n') { b"" } else { b"\n" };
        let _ = out.write_all(text.as_bytes()).and_then(|()| out.write_all(end));
    });
}

pub fn json(value: &impl serde::Serialize) -> anyhow::Result<()> {
    result(&serde_json::to_string_pretty(value)?);
    Ok(())
}

/// A line of news.
pub fn say(line: &str) {
    above(|| {
        let _ = writeln!(io::stderr().lock(), "{line}");
    });
}

/// The last lines of the terminal, those that change in place.
#[derive(Default)]
struct Screen {
    lines: MultiProgress,
    bars: Mutex<Bars>,
}

#[derive(Default)]
struct Bars {
    bars: Vec<ProgressBar>,
    /// Somebody is asked something: the cursor belongs to the answer.
    asking: bool,
}

static SCREEN: LazyLock<Screen> = LazyLock::new(Screen::default);

impl Screen {
    fn bars(&self) -> MutexGuard<'_, Bars> {
        self.bars.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn draw(&self, bars: &mut Bars, lines: &[String]) {
        for bar in bars.bars.drain(lines.len().min(bars.bars.len())..) {
            bar.finish_and_clear();
            self.lines.remove(&bar);
        }
        while bars.bars.len() < lines.len() {
            let plain = ProgressStyle::with_template("{msg}").unwrap_or_else(|_| ProgressStyle::default_spinner());
            bars.bars.push(self.lines.add(ProgressBar::new_spinner().with_style(plain)));
        }
        for (bar, line) in bars.bars.iter().zip(lines) {
            bar.set_message(line.clone());
        }
    }
}

/// Whether lines can change in place.
pub fn is_live() -> bool {
    console::Term::stderr().is_term() && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

/// Puts these lines in the place of those that were there.
pub fn live(lines: &[String]) {
    let mut bars = SCREEN.bars();
    if !bars.asking {
        SCREEN.draw(&mut bars, lines);
    }
}

/// What is written stands above the lines that change.
fn above<T>(write: impl FnOnce() -> T) -> T {
    SCREEN.lines.suspend(write)
}

/// Wider lines would tear apart what belongs together.
const WIDEST: usize = 120;

/// What news is written on.
pub fn paper() -> Paper {
    let terminal = console::Term::stderr();
    let columns = || terminal.size_checked().map_or(80, |(_, columns)| usize::from(columns).min(WIDEST));
    let width = terminal.is_term().then(columns);
    Paper { width, colour: console::colors_enabled_stderr() }
}

/// Whether somebody can be asked.
pub fn interactive() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

/// Asks on the terminal. Everything but a clear yes is a no, the end of the input too.
pub fn confirm(question: &str) -> bool {
    matches!(ask(&format!("{question} [y/N] ")).to_lowercase().as_str(), "y" | "yes")
}

pub fn error(error: &anyhow::Error) {
    let head = console::style("error:").red().bold().for_stderr();
    if let Some(mistakes) = error.downcast_ref::<Mistakes>() {
        say(&format!("{mistakes}\n"));
        // A missing right is no mistake, but it is in the way just so.
        let count = mistakes.0.len();
        say(&format!("{head} {count} {}, nothing was changed", if count == 1 { "problem" } else { "problems" }));
        return;
    }
    // The last wall: an error may quote a file from anybody.
    let told = format!("{error:#}").replace(|c: char| c.is_control() && c != '\n', "\u{fffd}");
    say(&format!("{head} {told}"));
    if let Some(hint) = error.downcast_ref::<Refused>().and_then(|r| r.hint.as_ref()) {
        say(&format!("  {} {hint}", console::style("hint:").cyan().for_stderr()));
    }
}

pub fn log(verbose: u8) {
    let level = match verbose {
        0 => "error",
        1 => "backout=info,error",
        _ => "backout=debug,info",
    };
    let filter = tracing_subscriber::EnvFilter::try_from_env("BACKOUT_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new(level));
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(|| Above)
        .with_ansi(io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none())
        .try_init();
}

/// For a log whose lines must not run into those that change.
struct Above;

impl Write for Above {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        above(|| io::stderr().write(text))
    }
    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

/// One bounded line from the terminal; empty at the end of the input.
pub fn ask(question: &str) -> String {
    {
        let mut bars = SCREEN.bars();
        SCREEN.draw(&mut bars, &[]);
        bars.asking = true;
    }
    // Nothing is locked while somebody thinks: what goes on meanwhile goes on.
    let _ = io::stderr().write_all(question.as_bytes()).and_then(|()| io::stderr().flush());
    let mut answer = String::new();
    // A bounded line: what is pasted by mistake is no answer.
    let _ = io::stdin().lock().take(200).read_line(&mut answer);
    SCREEN.bars().asking = false;
    answer.trim().to_owned()
}
