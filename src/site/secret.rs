//! Values that a site may take from elsewhere: `"text"`, `{ file = "secrets/x" }`, `{ env = "X" }`.
use super::path;
use crate::diagnostic::{
    Mistake,
    reader::{self, Item, Table},
    shown,
};
use std::{collections::BTreeMap, os::unix::fs::PermissionsExt, path::Path};

const MAX_SECRET: u64 = 64 << 10;

/// A value, and whether it came from where secrets are kept: not from the site file itself.
pub struct Value {
    pub text: String,
    pub secret: bool,
}

/// Named values of a table, such as an environment.
pub fn values(table: &Table<'_>, key: &str, dir: &Path) -> BTreeMap<String, Value> {
    let Some(entries) = table.table(key) else { return BTreeMap::new() };
    entries.entries().iter().filter_map(|item| Some((item.key.clone(), value(item, dir)?))).collect()
}

/// One value.
pub fn value(item: &Item<'_>, dir: &Path) -> Option<Value> {
    if !item.is_table() {
        return item.string().map(|at| Value { text: at.value, secret: false });
    }
    elsewhere(item, dir).map(|text| Value { text, secret: true })
}

/// A value that is a secret by what it is for: it never stands in the site file.
pub fn kept(item: &Item<'_>, dir: &Path) -> Option<String> {
    if item.is_string() {
        let mistake = Mistake::new(format!("`{}` holds a secret, and the site file holds none", item.name));
        item.mistake(mistake.hint("write `{ file = \"secrets/name\" }` or `{ env = \"NAME\" }`"));
        return None;
    }
    elsewhere(item, dir)
}

fn elsewhere(item: &Item<'_>, dir: &Path) -> Option<String> {
    let table = item.table()?;
    let (file, env) = (table.get("file"), table.get("env"));
    table.finish();
    match (file, env) {
        (Some(file), None) => {
            let path = path::absolute(dir, &file.text()?.value);
            from_file(&path).map_err(|mistake| file.mistake(mistake)).ok()
        }
        (None, Some(env)) => {
            let name = env.text()?.value;
            #[expect(clippy::disallowed_methods, reason = "the site says that it wants this variable")]
            let value = std::env::var(&name).ok();
            if value.is_none() {
                let mistake = Mistake::new(format!("the environment has no `{}`", shown(&name)));
                env.mistake(mistake.hint("set it where Backout is started"));
            }
            value
        }
        _ => {
            let mistake = Mistake::new(format!("`{}` must be a text, or one of `file` and `env`", item.name));
            item.mistake(mistake.hint("write `{ file = \"secrets/name\" }` or `{ env = \"NAME\" }`"));
            None
        }
    }
}

/// The content without the line feed at its end. Only its owner may read it.
fn from_file(path: &Path) -> Result<String, Mistake> {
    let name = shown(&path.display().to_string());
    let bytes = reader::read_bounded(path, MAX_SECRET, "the secret")?;
    let mode = path.metadata().map_err(|e| Mistake::io("the secret", path, &e))?.permissions().mode();
    if mode & 0o077 != 0 {
        let mistake =
            Mistake::new(format!("others than its owner may open the secret {name} (mode {:o})", mode & 0o777));
        return Err(mistake.hint(format!("chmod 600 {name}")));
    }
    let text = String::from_utf8(bytes).map_err(|_| Mistake::new(format!("the secret {name} is not text")))?;
    let text = text.strip_suffix('\n').unwrap_or(&text);
    let text = text.strip_suffix('\r').unwrap_or(text);
    if text.contains(['\0', '\n', '\r']) {
        return Err(Mistake::new(format!("the secret {name} has more than one line")));
    }
    Ok(text.to_owned())
}
