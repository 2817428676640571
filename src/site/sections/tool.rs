//! `[tool.NAME]`
use super::Reading;
use crate::{diagnostic::reader::Table, resource::tool};
use std::time::Duration;

impl Reading<'_> {
    pub(super) fn tool(&self, table: Table<'_>) -> Option<tool::Section> {
        let command = self.command(&table);
        let timeout = table.duration("timeout").unwrap_or(Duration::from_secs(600));
        let idempotent = table.boolean("idempotent").unwrap_or(false);
        let check = table.table("check").and_then(|check| {
            let run = check.required("run", "[\"program\", \"argument\"]").and_then(|item| self.words(&item));
            let timeout = check.duration("timeout").unwrap_or(Duration::from_secs(60));
            check.finish();
            Some(tool::Check { run: run?, timeout })
        });
        let uses = self.uses(&table);
        table.finish();
        let command = command?;
        Some(tool::Section {
            run: command.run,
            dir: command.dir,
            env: command.env,
            user: command.user,
            timeout,
            idempotent,
            uses,
            check,
        })
    }
}
