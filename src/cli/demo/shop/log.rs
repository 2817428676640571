use serde::Deserialize;
use std::io::Write;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    Error,
    #[default]
    Info,
    Debug,
}

/// One line on standard error, where whoever started the shop collects it. A reader that has gone away is no reason to die.
pub fn line(most: Level, level: Level, text: &str) {
    if level <= most {
        let word = match level {
            Level::Error => "ERROR",
            Level::Info => "INFO ",
            Level::Debug => "DEBUG",
        };
        let _ = writeln!(std::io::stderr().lock(), "{} {word} {text}", jiff::Timestamp::now());
    }
}

/// The result of a command.
pub fn answer(text: &str) {
    let _ = writeln!(std::io::stdout().lock(), "{text}");
}
