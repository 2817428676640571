//! `[tool.NAME]`
use super::{LINE, Reading, Surroundings};
use crate::{diagnostic::reader::Table, resource::tool};
use std::time::Duration;

impl Reading<'_> {
    pub(super) fn tool(&self, table: Table<'_>) -> Option<tool::Section> {
        let command = self.command(&table);
        let timeout = table.duration("timeout").unwrap_or(Duration::from_secs(600));
        let idempotent = table.boolean("idempotent").unwrap_or(false);
        let check = table.table("check").and_then(|check| {
            let run = check.required("run", LINE).and_then(|item| self.words(&item));
            let timeout = check.duration("timeout").unwrap_or(Duration::from_secs(60));
            check.finish();
            Some(tool::Check { run: run?, timeout })
        });
        let uses = self.uses(&table);
        table.finish();
        let super::Command { run, surroundings: Surroundings { dir, env, user } } = command?;
        Some(tool::Section { run, dir, env, user, timeout, idempotent, uses, check })
    }
}
