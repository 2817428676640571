//! The terminal: results on standard output, everything else on standard error.
use super::Refused;
use crate::diagnostic::Mistakes;
use std::io::{self, BufRead, IsTerminal, Read, Write};

/// The result of the command. A reader that has gone away is no error.
pub fn result(text: &str) {
    let mut out = io::stdout().lock();
    let _ =
        out.write_all(text.as_bytes()).and_then(|()| if text.ends_with('\n') { Ok(()) } else { out.write_all(b"\n") });
}

pub fn json(value: &impl serde::Serialize) -> anyhow::Result<()> {
    result(&serde_json::to_string_pretty(value)?);
    Ok(())
}

/// A line of news.
pub fn say(line: &str) {
    let _ = writeln!(io::stderr().lock(), "{line}");
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
        let count = mistakes.0.len();
        say(&format!("{head} {count} {}, nothing was changed", if count == 1 { "mistake" } else { "mistakes" }));
        return;
    }
    say(&format!("{head} {error:#}"));
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
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none())
        .try_init();
}

/// One bounded line from the terminal; empty at the end of the input.
pub fn ask(question: &str) -> String {
    let mut err = io::stderr().lock();
    let _ = write!(err, "{question}").and_then(|()| err.flush());
    let mut answer = String::new();
    let _ = io::stdin().lock().take(200).read_line(&mut answer);
    answer.trim().to_owned()
}
