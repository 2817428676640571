//! The terminal: results on standard output, everything else on standard error.
use super::{Refused, progress::Paper};
use crate::{
    diagnostic::Mistakes,
    journal,
    plain::{hidden, no_commands},
    report::annotation::Annotation,
    resource::room,
    run,
};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
    termios::{QueueSelector, tcflush},
};
use std::{
    io::{self, IsTerminal, Write},
    sync::{LazyLock, Mutex, MutexGuard, PoisonError},
};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::{filter::Targets, layer::SubscriberExt, util::SubscriberInitExt};

/// The result of the command. A reader that has gone away is no error.
pub fn result(text: &str) {
    let text = no_commands(text);
    above(|| {
        let mut out = io::stdout().lock();
        let end: &[u8] = if text.ends_with('\n') { b"" } else { b"\n" };
        let _ = out.write_all(text.as_bytes()).and_then(|()| out.write_all(end));
    });
}

pub fn json(value: &impl serde::Serialize) -> anyhow::Result<()> {
    // It stands in strings alone, which say the same so, and nothing to a pipeline that reads along.
    result(&serde_json::to_string_pretty(value)?.replace("##", "#\\u0023"));
    Ok(())
}

/// A line of news.
pub fn say(line: &str) {
    let line = no_commands(line);
    above(|| {
        let _ = writeln!(io::stderr().lock(), "{line}");
    });
}

/// For the pipeline itself. Standard output stays the result.
pub fn annotate(annotation: &Annotation) {
    above(|| {
        let _ = writeln!(io::stderr().lock(), "{annotation}");
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
    /// Somebody is asked this: the last line belongs to the answer.
    asking: Option<String>,
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
#[expect(clippy::disallowed_methods, reason = "it says what the terminal can do, nothing else does")]
pub fn is_live() -> bool {
    console::Term::stderr().is_term() && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

/// Puts these lines in the place of those that were there.
pub fn live(lines: &[String]) {
    let mut bars = SCREEN.bars();
    if bars.asking.is_none() {
        SCREEN.draw(&mut bars, lines);
    }
}

/// What is written stands above the lines that change, and above a question that waits for its answer.
fn above<T>(write: impl FnOnce() -> T) -> T {
    let bars = SCREEN.bars();
    match &bars.asking {
        None => SCREEN.lines.suspend(write),
        Some(prompt) => {
            let mut terminal = io::stderr();
            let _ = terminal.write_all(b"\r\x1b[K");
            let written = write();
            let _ = terminal.write_all(prompt.as_bytes()).and_then(|()| terminal.flush());
            written
        }
    }
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
pub fn confirm(question: &str, moot: &CancellationToken) -> bool {
    let answer = ask(&format!("{question} [y/N] "), moot).unwrap_or_default();
    matches!(answer.to_lowercase().as_str(), "y" | "yes")
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
    let hint = error.downcast_ref::<Refused>().and_then(|r| r.hint.as_deref());
    told(head, error, hint.or_else(|| no_room(error).then_some("make room on that disk, then say it again")));
}

/// What went wrong besides, and does not change how the command ends.
pub fn warn(error: &anyhow::Error, hint: Option<&str>) {
    told(console::style("warning:").yellow().bold().for_stderr(), error, hint);
}

fn told(head: console::StyledObject<&str>, error: &anyhow::Error, hint: Option<&str>) {
    // Many an error says already what caused it.
    let mut text = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if !text.ends_with(&cause) {
            text += if text.is_empty() { "" } else { ": " };
            text += &cause;
        }
    }
    // The last wall: an error may quote a file from anybody.
    let plain = |text: &str| text.replace(|c: char| hidden(c) && c != '\n', "\u{fffd}");
    say(&format!("{head} {}", plain(&text)));
    if let Some(hint) = hint {
        say(&format!("  {} {}", console::style("hint:").cyan().for_stderr(), plain(hint)));
    }
}

fn no_room(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause.downcast_ref::<io::Error>().is_some_and(room::is_none)
            || cause.downcast_ref::<journal::Error>().is_some_and(journal::Error::no_room)
            || matches!(cause.downcast_ref::<run::Error>(), Some(run::Error::Journal(error)) if error.no_room())
    })
}

#[expect(clippy::disallowed_methods, reason = "it says what the terminal can do, nothing else does")]
pub fn log(verbose: u8) {
    let level = match verbose {
        // Also what was left out of a journal.
        0 => "error,backout::journal::file=warn",
        1 => "backout=info,error",
        _ => "backout=debug,info",
    };
    let wanted = std::env::var("BACKOUT_LOG").ok().and_then(|wanted| wanted.parse::<Targets>().ok());
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(|| Above)
        .with_ansi(io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none());
    let _ = tracing_subscriber::registry()
        .with(wanted.unwrap_or_else(|| level.parse().unwrap_or_default()))
        .with(lines)
        .try_init();
}

/// For a log whose lines must not run into those that change.
struct Above;

impl Write for Above {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        let plain = no_commands(&String::from_utf8_lossy(text));
        above(|| io::stderr().write_all(plain.as_bytes()))?;
        Ok(text.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

/// A longer line was pasted by mistake.
const LONGEST_ANSWER: usize = 200;

/// One line from the terminal, without the space around it. `None` when nobody answers: the terminal is gone, or the question
/// is moot.
pub fn ask(prompt: &str, moot: &CancellationToken) -> Option<String> {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    if moot.is_cancelled() {
        return None;
    }
    // What was typed before the question could be read is no answer to it.
    let _ = tcflush(io::stdin(), QueueSelector::IFlush);
    {
        let mut bars = SCREEN.bars();
        SCREEN.draw(&mut bars, &[]);
        let _ = io::stderr().write_all(prompt.as_bytes()).and_then(|()| io::stderr().flush());
        bars.asking = Some(prompt.to_owned());
    }
    // Nothing is locked while somebody thinks: what goes on meanwhile goes on.
    let answer = line(moot);
    let mut bars = SCREEN.bars();
    bars.asking = None;
    if answer.is_none() {
        let _ = io::stderr().write_all(b"\n");
    }
    answer
}

/// Not through the buffer of `io::stdin`: a reader that waits there could not be told that the question is moot, and would
/// take the answer to the next one.
fn line(moot: &CancellationToken) -> Option<String> {
    const LOOK: Timespec = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };
    let terminal = io::stdin();
    let mut line = Vec::new();
    while !line.ends_with(b"\n") {
        if moot.is_cancelled() {
            return None;
        }
        match poll(&mut [PollFd::new(&terminal, PollFlags::IN)], Some(&LOOK)) {
            Ok(0) | Err(Errno::INTR) => continue,
            Ok(_) => {}
            Err(_) => return None,
        }
        let mut piece = [0; 256];
        match rustix::io::read(&terminal, &mut piece) {
            Ok(0) => return None,
            Ok(count) => {
                // Only its end counts of what is too long anyway.
                line.truncate(LONGEST_ANSWER + 1);
                line.extend(&piece[..count]);
            }
            Err(Errno::INTR | Errno::AGAIN) => {}
            Err(_) => return None,
        }
    }
    let fits = line.len() <= LONGEST_ANSWER;
    Some(if fits { String::from_utf8_lossy(&line).trim().to_owned() } else { String::new() })
}
