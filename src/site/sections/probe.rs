//! `[probe.NAME]`
use super::{Reading, url};
use crate::{
    diagnostic::{Mistake, reader::Table, shown},
    resource::probe,
    site::secret,
};
use std::{collections::BTreeMap, time::Duration};

impl Reading<'_> {
    pub(super) fn probe(&self, table: Table<'_>) -> Option<probe::Section> {
        let url = table.required("url", "\"http://localhost:8080\"").and_then(|item| url(&item));
        let headers = secret::values(&table, "headers", self.dir).into_iter();
        let header = |value: secret::Value| probe::Header { value: value.text, secret: value.secret };
        let headers: BTreeMap<_, _> = headers.map(|(name, value)| (name, header(value))).collect();
        for name in headers.keys() {
            let fine = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
            if name.is_empty() || !name.chars().all(fine) {
                let mistake = Mistake::new(format!("`{}` cannot be the name of a header", shown(name)));
                table.mistake(mistake.at(&table.location()));
            }
        }
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
