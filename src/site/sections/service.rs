//! `[service.NAME]`
use super::Reading;
use crate::{
    diagnostic::reader::{Item, Table},
    resource::service,
};
use std::time::Duration;

impl Reading<'_> {
    pub(super) fn service(&self, table: Table<'_>) -> Option<service::Section> {
        let drivers = [("process", "process")];
        // Where it is not said, the rest can be read all the same; where it is none, the keys mean nothing.
        let driver = match table.required("driver", "\"process\"") {
            Some(item) => Some(item.word(&drivers)?),
            None => None,
        };
        let read = self.process(&table).map(service::Driver::Process);
        let uses = self.uses(&table);
        table.finish();
        driver?;
        Some(service::Section { driver: read?, uses })
    }

    /// A process that Backout supervises.
    fn process(&self, table: &Table<'_>) -> Option<service::Process> {
        let command = self.command(table);
        let reload = table.get("reload").and_then(|item| signal(&item));
        let settle = table.duration("settle").unwrap_or(Duration::from_secs(1));
        let stop_within = table.duration("stop-within").unwrap_or(Duration::from_secs(10));
        let log = table.table("log");
        let (log_bytes, log_keep) = match &log {
            Some(log) => (log.bytes("bytes"), log.integer("keep", 0..=1000)),
            None => (None, None),
        };
        if let Some(log) = log {
            log.finish();
        }
        let command = command?;
        Some(service::Process {
            run: command.run,
            dir: command.dir,
            env: command.env,
            user: command.user,
            settle,
            stop_within,
            reload,
            log_bytes: log_bytes.unwrap_or(10 << 20),
            log_keep: log_keep.and_then(|n| u32::try_from(n).ok()).unwrap_or(5),
        })
    }
}

/// The name of a signal that a service may be sent.
fn signal(item: &Item<'_>) -> Option<String> {
    const SIGNALS: &[&str] = &["HUP", "USR1", "USR2", "INT", "QUIT", "WINCH"];
    let words: Vec<(&str, &str)> = SIGNALS.iter().map(|word| (*word, *word)).collect();
    item.word(&words).map(str::to_owned)
}
