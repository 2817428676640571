//! `[tree.NAME]`
use super::{KEEP_ASIDE, Reading, repository};
use crate::{
    diagnostic::{Mistake, reader::Table, shown},
    resource::tree,
};

impl Reading<'_> {
    pub(super) fn tree(&self, table: Table<'_>) -> Option<tree::Section> {
        let path = self.path(&table);
        let exclude = table.strings("exclude").unwrap_or_default();
        for pattern in &exclude {
            if let Err(why) = tree::exclude::Excludes::parse(std::slice::from_ref(&pattern.value)) {
                let mistake = Mistake::new(shown(&why));
                let hint = "write paths from the tree's top, with `*` and `**`: `uploads`, `**/*.log`";
                table.mistake(mistake.at(&pattern.location).hint(hint));
            }
        }
        let keep_aside = table.duration("keep-aside").unwrap_or(KEEP_ASIDE);
        let exclusive = table.boolean("exclusive").unwrap_or(true);
        let archive = repository::method(&table, self.repositories);
        table.finish();
        let exclude = exclude.into_iter().map(|at| at.value).collect();
        Some(tree::Section { path: path?, exclude, keep_aside, exclusive, archive: archive? })
    }
}
