//! `[database.NAME]`
use super::{KEEP_ASIDE, Reading, only_driver};
use crate::{diagnostic::reader::Table, resource::database};

impl Reading<'_> {
    pub(super) fn database(&self, table: Table<'_>) -> Option<database::Section> {
        let driver = only_driver(&table, "sqlite")?;
        let path = self.path(&table);
        let keep_aside = table.duration("keep-aside").unwrap_or(KEEP_ASIDE);
        let exclusive = table.boolean("exclusive").unwrap_or(true);
        table.finish();
        driver?;
        Some(database::Section { driver: database::Driver::Sqlite { path: path? }, keep_aside, exclusive })
    }
}
