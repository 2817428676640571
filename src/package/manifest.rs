//! `package.toml`: text → a manifest with a place for all that can still turn out wrong.
use super::{
    schema::{Schema, schemas},
    setting::{Setting, setting},
};
use crate::{
    diagnostic::{
        Location, Mistake, Source,
        reader::{self, At, Item, Table},
        shown,
    },
    resource::{KINDS, Right, Rights},
};
use semver::{Version, VersionReq};
use std::{
    collections::BTreeMap,
    path::{Component, Path, PathBuf},
    sync::Arc,
};

#[derive(Clone, Debug)]
pub struct Manifest {
    /// `vendor/name`
    pub name: String,
    pub version: Version,
    pub about: String,
    /// What must be installed.
    pub from: Option<At<VersionReq>>,
    pub script: At<PathBuf>,
    pub build: Option<String>,
    /// Paths inside the package by name.
    pub payload: BTreeMap<String, At<PathBuf>>,
    pub settings: BTreeMap<String, Setting>,
    /// In the order of the file.
    pub needs: Vec<Need>,
    pub schemas: Vec<Schema>,
}

/// A reason is read on a line of a terminal, beside what it is for.
const LONGEST_WHY: usize = 200;

/// What a package wants from one resource.
#[derive(Clone, Debug)]
pub struct Need {
    pub kind: String,
    /// the package's own word
    pub label: String,
    pub may: Rights,
    pub why: String,
    pub optional: bool,
    /// of metrics: the names that the script may ask for
    pub queries: Vec<At<String>>,
    pub location: Location,
}

impl Manifest {
    /// Whether it can be run where this version is installed.
    pub fn upgrades(&self, installed: &str) -> bool {
        let Some(from) = &self.from else { return true };
        // `1.4` of a folder's name is 1.4.0.
        let padded = match installed.matches('.').count() {
            0 => format!("{installed}.0.0"),
            1 => format!("{installed}.0"),
            _ => installed.to_owned(),
        };
        Version::parse(&padded).is_ok_and(|version| from.value.matches(&version))
    }
    pub fn need(&self, kind: &str, label: &str) -> Option<&Need> {
        self.needs.iter().find(|need| need.kind == kind && need.label == label)
    }
}

/// The kinds of resources that a package can need.
pub fn needable() -> impl Iterator<Item = &'static str> {
    KINDS.iter().copied().filter(|kind| !Right::of_kind(kind).is_empty())
}

/// What the text says, as far as it can be understood.
#[derive(Default)]
pub struct Draft {
    name: Option<String>,
    version: Option<Version>,
    about: Option<String>,
    from: Option<At<VersionReq>>,
    pub script: Option<At<PathBuf>>,
    build: Option<String>,
    pub payload: BTreeMap<String, At<PathBuf>>,
    settings: BTreeMap<String, Setting>,
    pub needs: Vec<Need>,
    pub schemas: Vec<Schema>,
}

impl Draft {
    /// `None`: something is missing, and has been told.
    pub fn finish(self) -> Option<Manifest> {
        Some(Manifest {
            name: self.name?,
            version: self.version?,
            about: self.about?,
            from: self.from,
            script: self.script?,
            build: self.build,
            payload: self.payload,
            settings: self.settings,
            needs: self.needs,
            schemas: self.schemas,
        })
    }
}

/// All mistakes of the text.
pub fn parse(source: &Arc<Source>) -> (Draft, Vec<Mistake>) {
    let (draft, mistakes) = reader::read(source, document);
    (draft.unwrap_or_default(), mistakes)
}

fn document(root: Table<'_>) -> Draft {
    let mut draft = Draft::default();
    if let Some(head) = root.section("package") {
        draft.name = head.required("name", "\"vendor/name\"").and_then(|item| package_name(&item));
        draft.version = head.required("version", "\"1.0.0\"").and_then(|item| version(&item));
        let about = head.required("about", "\"what it does, in one line\"").and_then(|item| item.text());
        draft.about = about.map(|at| at.value);
        draft.from = head.get("from").and_then(|item| requirement(&item));
        if let Some(item) = head.get("backout") {
            oldest_backout(&item);
        }
        draft.script = head.required("script", "\"script.wasm\"").and_then(|item| inner_path(&item));
        draft.build = head.get("build").and_then(|item| item.text()).map(|at| at.value);
        head.finish();
    }
    let by_name = |key| root.named(key).into_iter().map(|item| (item.key.clone(), item));
    draft.payload = by_name("payload").filter_map(|(name, item)| Some((name, inner_path(&item)?))).collect();
    draft.settings = by_name("settings").filter_map(|(name, item)| Some((name, setting(&item)?))).collect();
    draft.needs = root.table("needs").map(needs).unwrap_or_default();
    draft.schemas = schemas(&root, &draft.needs);
    root.finish();
    draft
}

/// `vendor/name`, both in lower case.
pub fn package_name(item: &Item<'_>) -> Option<String> {
    let text = item.string()?.value;
    if valid_package_name(&text) {
        return Some(text);
    }
    let mistake = Mistake::new(format!("`{}` cannot be the name of a package", shown(&text)));
    item.mistake(mistake.hint("write `vendor/name`, both of lower-case letters, digits and `-`"));
    None
}

pub fn valid_package_name(text: &str) -> bool {
    let part = |part: &str| {
        (1..=64).contains(&part.len())
            && part.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
            && !part.starts_with('-')
    };
    text.split_once('/').is_some_and(|(vendor, name)| part(vendor) && part(name))
}

fn version(item: &Item<'_>) -> Option<Version> {
    let text = item.string()?.value;
    let version = Version::parse(&text);
    if let Err(why) = &version {
        let mistake = Mistake::new(format!("`{}` is not a version: {why}", shown(&text)));
        item.mistake(mistake.hint("write `major.minor.patch`, as in `2.0.0`"));
    }
    version.ok()
}

pub fn requirement(item: &Item<'_>) -> Option<At<VersionReq>> {
    let At { value: text, location } = item.string()?;
    match VersionReq::parse(&text) {
        Ok(value) => Some(At { value, location }),
        Err(why) => {
            let mistake = Mistake::new(format!("`{}` does not say which versions: {why}", shown(&text)));
            item.mistake(mistake.hint("write `>=1.4, <2`, `2.*` or `^1.2`"));
            None
        }
    }
}

/// `backout = "0.1"`: the oldest Backout that can run the package.
fn oldest_backout(item: &Item<'_>) {
    let Some(text) = item.string() else { return };
    let parts: Vec<Option<u64>> = text.value.split('.').map(|part| part.parse().ok()).collect();
    let wanted = match parts[..] {
        [Some(major)] => Version::new(major, 0, 0),
        [Some(major), Some(minor)] => Version::new(major, minor, 0),
        [Some(major), Some(minor), Some(patch)] => Version::new(major, minor, patch),
        _ => {
            let mistake = Mistake::new(format!("`{}` is not a version of Backout", shown(&text.value)));
            return item.mistake(mistake.hint("write `0.1` or `0.1.0`"));
        }
    };
    let this = env!("CARGO_PKG_VERSION");
    if Version::parse(this).is_ok_and(|this| wanted > this) {
        let mistake = Mistake::new(format!("the package needs Backout {wanted} or later, this is {this}"));
        item.mistake(mistake.hint("install a newer Backout"));
    }
}

/// A relative path that does not leave the package, as far as the text can say.
fn inner_path(item: &Item<'_>) -> Option<At<PathBuf>> {
    let At { value: text, location } = item.text()?;
    let path = Path::new(&text);
    let inside = path.components().all(|c| matches!(c, Component::Normal(_) | Component::CurDir));
    if !inside {
        let mistake = Mistake::new(format!("`{}` leaves the package: {}", item.name, shown(&text)));
        item.mistake(mistake.hint("name a file inside the package's folder, without `..`"));
        return None;
    }
    Some(At { value: path.to_owned(), location })
}

fn needs(table: Table<'_>) -> Vec<Need> {
    let mut needs: Vec<Need> = Vec::new();
    for kind in needable() {
        needs.extend(table.named(kind).iter().filter_map(|item| need(kind, item)));
    }
    // `backup.take("shop")` has one label and two kinds that it may mean.
    let copied = |need: &&Need| need.may.contains(Right::Backup) || need.may.contains(Right::Restore);
    for tree in needs.iter().filter(|need| need.kind == "tree") {
        let twin = needs.iter().find(|need| need.kind == "database" && need.label == tree.label);
        if let Some(twin) = twin
            && (copied(&tree) || copied(&twin))
        {
            let message = format!("`{}` is the label of a database and of a tree, and is backed up", tree.label);
            let mistake = Mistake::new(message).at(&tree.location);
            table.mistake(mistake.hint("`backup` could not tell them apart: give one of them another label"));
        }
    }
    table.finish();
    needs.sort_by_key(|need| need.location.span.start);
    needs
}

fn need(kind: &str, item: &Item<'_>) -> Option<Need> {
    let table = item.table()?;
    let example = Right::of_kind(kind).first().map_or(String::new(), |right| format!("[\"{right}\"]"));
    let may = table.required("may", &example).and_then(|item| rights(kind, &item));
    let why = table.required("why", "\"what a person who decides must know\"").and_then(|item| item.text());
    if let Some(why) = why.as_ref().filter(|why| why.value.chars().count() > LONGEST_WHY) {
        let mistake = Mistake::new(format!("`{}.why` is longer than {LONGEST_WHY} characters", table.name()));
        table.mistake(mistake.at(&why.location).hint("one sentence that a person reads before granting it"));
    }
    let optional = table.boolean("optional").unwrap_or(false);
    let queries = if kind == "metrics" { table.strings("queries").unwrap_or_default() } else { Vec::new() };
    for (index, query) in queries.iter().enumerate() {
        let wrong = match reader::name(&query.value) {
            Err(why) => Some((format!("`{}` cannot be a name", shown(&query.value)), why)),
            Ok(()) if queries[..index].iter().any(|earlier| earlier.value == query.value) => {
                Some((format!("`{}` is named twice", query.value), "once is enough"))
            }
            Ok(()) => None,
        };
        if let Some((message, hint)) = wrong {
            table.mistake(Mistake::new(message).at(&query.location).hint(hint));
        }
    }
    let location = table.location();
    table.finish();
    Some(Need {
        kind: kind.to_owned(),
        label: item.key.clone(),
        may: may?,
        why: why?.value,
        optional,
        queries,
        location,
    })
}

/// `may = ["read", …]`: rights that have a meaning for the kind, at least one.
pub fn rights(kind: &str, item: &Item<'_>) -> Option<Rights> {
    let words = item.strings()?;
    if words.is_empty() {
        item.mistake(Mistake::new(format!("`{}` is empty", item.name)).hint("without a right, leave the line out"));
        return None;
    }
    let of_kind = Right::of_kind(kind);
    let mut rights = Vec::new();
    for word in &words {
        match word.value.parse::<Right>().ok().filter(|right| of_kind.contains(right)) {
            Some(right) => rights.push(right),
            None => {
                let mistake = Mistake::new(format!("a {kind} has no right `{}`", shown(&word.value)));
                let known = of_kind.iter().map(|right| right.as_str());
                item.mistake_at(mistake.known(&word.value, known), &word.location);
            }
        }
    }
    (rights.len() == words.len()).then(|| rights.into_iter().collect())
}
