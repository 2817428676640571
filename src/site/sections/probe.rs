//! `[probe.NAME]`
use super::{Reading, url};
use crate::{diagnostic::reader::Table, resource::probe};
use std::time::Duration;

impl Reading<'_> {
    pub(super) fn probe(&self, table: Table<'_>) -> Option<probe::Section> {
        let url = table.required("url", "\"http://localhost:8080\"").and_then(|item| url(&item));
        let headers = self.headers(&table);
        let timeout = table.duration("timeout").unwrap_or(Duration::from_secs(10));
        let load = table.table("load").and_then(|load| {
            let clients = load.required("clients", "10").and_then(|item| item.integer(1..=10_000));
            let time = load.required("time", "\"1m\"").and_then(|item| item.duration());
            load.finish();
            Some(probe::Load { clients: u32::try_from(clients?).ok()?, time: time?.value })
        });
        table.finish();
        Some(probe::Section { url: url?, headers, timeout, load })
    }
}
