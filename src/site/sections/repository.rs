//! `[repository.NAME]`, and where copies of a resource go.
use super::path;
use crate::{
    diagnostic::{
        Mistake,
        reader::{Item, Table},
        shown,
    },
    resource::repository::Repository,
    site::secret,
};
use std::{collections::BTreeMap, path::Path};

/// By name. One with mistakes is there all the same: what names it is not wrong then.
pub fn repositories(root: &Table<'_>, dir: &Path) -> BTreeMap<String, Option<Repository>> {
    let items = root.named("repository");
    items.iter().map(|item| (item.key.clone(), repository(item, dir))).collect()
}

fn repository(item: &Item<'_>, dir: &Path) -> Option<Repository> {
    let table = item.table()?;
    let path = table.required("path", "\"/mnt/backup/shop\"").and_then(|item| item.text());
    let password = table.required("password", "{ file = \"secrets/repository\" }");
    let password = password.and_then(|item| {
        let password = secret::kept(&item, dir)?;
        if password.is_empty() {
            item.mistake(Mistake::new(format!("`{}` is empty", item.name)).hint("write one into its file"));
            return None;
        }
        Some(password)
    });
    table.finish();
    Some(Repository::new(&item.key, &path::absolute(dir, &path?.value), password?))
}

/// `method`, and the `repository` that goes with `archive`. `Some(None)`: as a stand-by.
pub fn method(table: &Table<'_>, repositories: &BTreeMap<String, Option<Repository>>) -> Option<Option<Repository>> {
    let archive = match table.get("method") {
        Some(item) => item.word(&[("stand-by", false), ("archive", true)]),
        None => Some(false),
    };
    if archive.is_none() {
        // Which method is meant nobody knows, so it is not wrong.
        let _ = table.get("repository");
    }
    if archive? { named(table, repositories).map(Some) } else { none_named(table).then_some(None) }
}

/// `repository`, which goes with no other method.
pub fn none_named(table: &Table<'_>) -> bool {
    let Some(item) = table.get("repository") else { return true };
    let mistake = Mistake::new(format!("`{}` is of no meaning without `method = \"archive\"`", item.name));
    item.mistake(mistake.hint("say the method, or leave it out"));
    false
}

/// The `repository` that goes with `archive`.
pub fn named(table: &Table<'_>, repositories: &BTreeMap<String, Option<Repository>>) -> Option<Repository> {
    let named = table.required("repository", "\"NAME\"").and_then(|item| item.text())?;
    match repositories.get(&named.value) {
        Some(found) => found.clone(),
        None => {
            let name = shown(&named.value);
            let mistake = Mistake::new(format!("there is no repository `{name}`")).at(&named.location);
            let mut mistake = mistake.known(&named.value, repositories.keys().map(String::as_str));
            if mistake.hint.is_none() {
                mistake = mistake.hint(format!("add a section `[repository.{name}]`"));
            }
            table.mistake(mistake);
            None
        }
    }
}
