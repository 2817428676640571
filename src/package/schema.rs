//! `[schema.LABEL]` of the manifest: between which revisions of a database's schema the package goes back and forth.
use super::Need;
use crate::{
    diagnostic::{
        Location, Mistake,
        reader::{At, Item, Table},
        shown,
    },
    resource::{
        Database, Kind, Right,
        database::{LONGEST_REVISION, Revisions},
    },
};

#[derive(Clone, Debug)]
pub struct Schema {
    /// of the need
    pub label: String,
    pub revisions: Revisions,
    /// where it says from which ones
    pub location: Location,
}

impl Schema {
    /// Whether Backout itself uses this right, to look at the schema.
    pub fn reads(&self, need: &Need, right: Right) -> bool {
        right == Right::Read && need.kind == Database::NAME && need.label == self.label
    }
    /// `from 15 or 16 to 17`
    pub fn span(&self) -> String {
        let from: Vec<String> = self.revisions.from.iter().map(|from| shown(from)).collect();
        format!("from {} to {}", from.join(" or "), shown(&self.revisions.to))
    }
}

pub fn schemas(root: &Table<'_>, needs: &[Need]) -> Vec<Schema> {
    let items = root.named("schema");
    if items.is_empty() {
        return Vec::new();
    }
    let declared = declared(root);
    items.iter().filter_map(|item| schema(item, needs, &declared)).collect()
}

/// The labels of databases, also of needs that have mistakes of their own.
fn declared(root: &Table<'_>) -> Vec<String> {
    let databases = entries(root.get("needs")).into_iter().find(|kind| kind.key == Database::NAME);
    entries(databases).into_iter().map(|need| need.key).collect()
}

fn entries<'d>(item: Option<Item<'d>>) -> Vec<Item<'d>> {
    let table = item.filter(Item::is_table).and_then(|item| item.table());
    table.map(|table| table.entries()).unwrap_or_default()
}

fn schema(item: &Item<'_>, needs: &[Need], declared: &[String]) -> Option<Schema> {
    let label = item.key.clone();
    if !declared.contains(&label) {
        let mistake = Mistake::new(format!("the package needs no database `{label}`"));
        item.mistake_at(mistake.known(&label, declared.iter().map(String::as_str)), &item.key_location());
    }
    let need = needs.iter().find(|need| need.kind == Database::NAME && need.label == label);
    if need.is_some_and(|need| !need.may.contains(Right::Read)) {
        let mistake = Mistake::new(format!("the need database {label} does not ask for `read`"));
        let hint = "who tells the revision of its schema must look into it: add `read` to `may`";
        item.mistake_at(mistake.hint(hint), &item.key_location());
    }
    let table = item.table()?;
    let query = table.get("revision").map(|item| item.text());
    let told = query.is_some();
    let example = if told { "\"16\"" } else { "\"sha256:…\"" };
    let from = table.required("from", example).and_then(|item| Some((starts(&item, told)?, item.location())));
    let to = table.required("to", example).and_then(|item| revision(&item, told));
    table.finish();
    let query = query.map_or(Some(None), |query| Some(Some(query?.value)));
    let (from, location) = from?;
    Some(Schema { label, revisions: Revisions { query: query?, from, to: to? }, location })
}

/// One revision, or a list.
fn starts(item: &Item<'_>, told: bool) -> Option<Vec<String>> {
    if item.is_string() || item.is_number() {
        return revision(item, told).map(|one| vec![one]);
    }
    let items = item.array()?;
    if items.is_empty() {
        item.mistake(Mistake::new(format!("`{}` is empty", item.name)).hint("name the revisions that it upgrades"));
        return None;
    }
    let found: Vec<Option<At<String>>> =
        items.iter().map(|item| Some(At { value: revision(item, told)?, location: item.location() })).collect();
    let mut from: Vec<String> = Vec::new();
    for At { value, location } in found.iter().flatten() {
        if from.contains(value) {
            let mistake = Mistake::new(format!("`{}` is named twice", shown(value)));
            item.mistake_at(mistake.hint("once is enough"), location);
        }
        from.push(value.clone());
    }
    (found.len() == from.len()).then_some(from)
}

/// `told`: by a query; otherwise it is a fingerprint.
fn revision(item: &Item<'_>, told: bool) -> Option<String> {
    if item.is_number() {
        let mistake = Mistake::new(format!("`{}` must be a string, not a number", item.name));
        item.mistake(mistake.hint("revisions are compared as text: put it in quotes"));
        return None;
    }
    let text = item.text()?.value;
    if text.chars().count() > LONGEST_REVISION {
        item.mistake(Mistake::new(format!("`{}` is longer than {LONGEST_REVISION} characters", item.name)));
        return None;
    }
    let hex = text.strip_prefix("sha256:").unwrap_or_default();
    if !told && (hex.len() != 64 || !hex.chars().all(|c| matches!(c, '0'..='9' | 'a'..='f'))) {
        let mistake = Mistake::new(format!("`{}` is not the fingerprint of a schema", shown(&text)));
        let hint = "write `sha256:` and 64 digits, as `backout check PACKAGE` shows them, or add `revision`, a query";
        item.mistake(mistake.hint(hint));
        return None;
    }
    Some(text)
}
