//! Grants that are added to a site file: its comments, its order and everything else in it stay as they are.
use super::{Missing, Site};
use crate::{
    diagnostic::{Mistake, Mistakes, shown},
    package::Package,
    resource::{ResourceId, Right, Rights},
};
use std::{
    fs::{self, File},
    io::{self, Write},
    os::unix::fs::{MetadataExt, chown},
    path::Path,
};
use toml_edit::{Array, DocumentMut, InlineTable, Item, Table, TableLike, Value};

/// Rights for a label of a package, and the resource that it means.
#[derive(Clone, Debug)]
pub struct Addition {
    pub kind: String,
    pub label: String,
    pub is: ResourceId,
    /// The label has other rights already.
    pub more: bool,
    /// The rights that are new.
    pub rights: Rights,
    /// All rights that the label has afterwards.
    pub may: Rights,
}

impl Addition {
    /// The line as it goes into the file.
    pub fn line(&self) -> String {
        let is =
            if self.is.name == self.label { String::new() } else { format!("is = {}, ", Value::from(&*self.is.name)) };
        let may: Vec<String> = ordered(&self.kind, &self.may).map(|right| format!("\"{right}\"")).collect();
        format!("{}.{} = {{ {is}may = [{}] }}", self.kind, key(&self.label), may.join(", "))
    }
}

fn key(label: &str) -> String {
    toml_edit::Key::new(label).to_string()
}

/// Rights in the order in which the documentation has them.
fn ordered<'r>(kind: &str, rights: &'r Rights) -> impl Iterator<Item = Right> + 'r {
    Right::of_kind(kind).iter().copied().filter(|right| rights.contains(*right))
}

impl Site {
    /// What would have to be added for these rights. Labels are bound to what the operator says, else to the resource of
    /// the same name, else to the only one of its kind.
    pub fn additions(
        &self,
        package: &Package,
        missing: &[Missing],
        bind: &[(ResourceId, String)],
    ) -> Result<Vec<Addition>, Vec<Mistake>> {
        let mut mistakes = Vec::new();
        for (label, name) in bind {
            if !missing.iter().any(|m| m.need.kind == label.kind && m.need.label == label.name) {
                let message = format!("{} {} is not among the missing rights", shown(&label.kind), shown(&label.name));
                let known: Vec<String> = missing.iter().map(|m| format!("{}.{}", m.need.kind, m.need.label)).collect();
                let found = format!("{}.{}", label.kind, label.name);
                mistakes.push(Mistake::new(message).known(&found, known.iter().map(String::as_str)));
            } else if !self.has(&ResourceId::new(&label.kind, name)) {
                let message = format!("the site has no {} `{}`", label.kind, shown(name));
                mistakes.push(Mistake::new(message).known(name, self.names(&label.kind)));
            }
        }
        let mut additions = Vec::new();
        for missing in missing {
            match self.bound(missing, bind) {
                Ok(is) => {
                    let granted = self.grant(package, &missing.need).map(|grant| grant.may.clone()).unwrap_or_default();
                    additions.push(Addition {
                        kind: missing.need.kind.clone(),
                        label: missing.need.label.clone(),
                        is,
                        more: missing.bound.is_some(),
                        rights: missing.rights.clone(),
                        may: granted.iter().chain(missing.rights.iter()).collect(),
                    });
                }
                Err(mistake) => mistakes.push(mistake),
            }
        }
        if mistakes.is_empty() { Ok(additions) } else { Err(mistakes) }
    }

    fn bound(&self, missing: &Missing, bind: &[(ResourceId, String)]) -> Result<ResourceId, Mistake> {
        let (kind, label) = (&missing.need.kind, &missing.need.label);
        if let Some(bound) = &missing.bound {
            return Ok(bound.clone());
        }
        if let Some((_, name)) = bind.iter().find(|(id, _)| id.kind == *kind && id.name == *label) {
            return Ok(ResourceId::new(kind, name));
        }
        let same = ResourceId::new(kind, label);
        if self.has(&same) {
            return Ok(same);
        }
        let names: Vec<&str> = self.names(kind).collect();
        match names[..] {
            [only] => Ok(ResourceId::new(kind, only)),
            [] => Err(Mistake::new(format!("{kind} {label}: the site has no {kind}"))
                .hint(format!("describe it in a section `[{kind}.{label}]` first, because: {}", missing.need.why))),
            _ => Err(Mistake::new(format!("{kind} {label}: the site has {}", names.join(", ")))
                .hint(format!("say which one: `--bind {kind}.{label}={}`", names[0]))),
        }
    }

    /// The file's text with the additions. It has been read again, and says what was meant.
    pub fn with(&self, package: &Package, additions: &[Addition]) -> Result<String, Mistakes> {
        let by_hand = |why: &str| {
            let lines: Vec<String> = additions.iter().map(Addition::line).collect();
            Mistake::new(format!("the site file cannot be changed without harm ({why})")).hint(format!(
                "add by hand to [allow.\"{}\"]: {}",
                package.manifest.name,
                lines.join("; ")
            ))
        };
        let mut document: DocumentMut = self.text().parse().map_err(|_| by_hand("it is no TOML"))?;
        add(&mut document, package, additions).ok_or_else(|| by_hand("its form is not understood"))?;
        let text = document.to_string();
        let site = self.changed(&text).map_err(|mut wrong| {
            wrong.0.iter_mut().for_each(|mistake| mistake.message.insert_str(0, "with these rights, "));
            wrong
        })?;
        let kept = additions.iter().all(|addition| {
            let grant = site.allows(package).and_then(|allow| allow.grant(&addition.kind, &addition.label));
            grant.is_some_and(|grant| grant.is == addition.is && grant.may == addition.may)
        });
        if kept { Ok(text) } else { Err(by_hand("it would not say what was meant").into()) }
    }
}

fn add(document: &mut DocumentMut, package: &Package, additions: &[Addition]) -> Option<()> {
    let root = document.as_table_mut();
    if !root.contains_key("allow") {
        let mut allow = Table::new();
        allow.set_implicit(true);
        root.insert("allow", Item::Table(allow));
    }
    let allow = root.get_mut("allow")?.as_table_like_mut()?;
    let name = package.manifest.name.as_str();
    if !allow.contains_key(name) {
        let mut table = Table::new();
        table.insert("versions", toml_edit::value(like(&package.manifest.version)));
        table.decor_mut().set_prefix("\n");
        allow.insert(name, Item::Table(table));
    }
    let package = allow.get_mut(name)?;
    for addition in additions {
        let inline = package.is_inline_table();
        let package = package.as_table_like_mut()?;
        if !package.contains_key(&addition.kind) {
            let kind = if inline {
                let mut kind = InlineTable::new();
                kind.set_dotted(true);
                toml_edit::value(kind)
            } else {
                let mut kind = Table::new();
                kind.set_dotted(true);
                Item::Table(kind)
            };
            package.insert(&addition.kind, kind);
        }
        let kind = package.get_mut(&addition.kind)?.as_table_like_mut()?;
        match kind.get_mut(&addition.label) {
            Some(grant) => extend(grant.as_table_like_mut()?, addition)?,
            None => {
                let mut grant = InlineTable::new();
                if addition.is.name != addition.label {
                    grant.insert("is", addition.is.name.as_str().into());
                }
                let may: Array = ordered(&addition.kind, &addition.may).map(|right| right.as_str()).collect();
                grant.insert("may", may.into());
                kind.insert(&addition.label, toml_edit::value(grant));
            }
        }
    }
    Some(())
}

/// The versions that are sure to be compatible by their number with the one that somebody has read about.
fn like(version: &semver::Version) -> String {
    match (version.major, version.pre.is_empty()) {
        (_, false) => format!("={version}"),
        (0, true) => format!("0.{}.*", version.minor),
        (major, true) => format!("{major}.*"),
    }
}

/// Puts the new rights behind those that are there, in the form that these have.
fn extend(grant: &mut dyn TableLike, addition: &Addition) -> Option<()> {
    let may = grant.get_mut("may")?.as_array_mut()?;
    let text = |raw: Option<&toml_edit::RawString>| raw.and_then(|raw| raw.as_str()).unwrap_or_default().to_owned();
    // What follows the last right: a comment on its line stays on its line, the rest stays at the end.
    let last = may.len().checked_sub(1)?;
    let decor = may.get_mut(last)?.decor_mut();
    let before = text(decor.prefix());
    let tail = text(decor.suffix()) + &text(Some(may.trailing()));
    let (comment, end) = match tail.split_once('\n') {
        Some((comment, end)) => (Some(comment.to_owned()), format!("\n{end}")),
        None => (None, tail),
    };
    may.get_mut(last)?.decor_mut().set_suffix("");
    may.set_trailing(end);
    // A right on a line of its own gets a line of its own.
    let own_line = before.rsplit_once('\n').map(|(_, indent)| format!("\n{indent}"));
    for (index, right) in ordered(&addition.kind, &addition.rights).enumerate() {
        let comment = comment.as_ref().filter(|_| index == 0);
        let prefix = match (comment, &own_line) {
            (Some(comment), Some(line)) => format!("{comment}{line}"),
            (Some(comment), None) => format!("{comment}\n    "),
            (None, Some(line)) => line.clone(),
            (None, None) => " ".to_owned(),
        };
        let mut value = Value::from(right.as_str());
        value.decor_mut().set_prefix(prefix);
        may.push_formatted(value);
    }
    Some(())
}

/// Puts a text in the place of a file: whole or not at all, also when the power fails. The file keeps its owner and its
/// permissions; when it is no longer what was read, nothing happens.
pub fn replace(path: &Path, was: &str, text: &str) -> io::Result<()> {
    let folder = path.parent().ok_or_else(|| io::Error::other("it has no folder"))?;
    let metadata = fs::metadata(path)?;
    let mut file = tempfile::Builder::new().prefix(".backout-").tempfile_in(folder)?;
    file.write_all(text.as_bytes())?;
    let own = file.as_file().metadata()?;
    if (own.uid(), own.gid()) != (metadata.uid(), metadata.gid()) {
        chown(file.path(), Some(metadata.uid()), Some(metadata.gid()))?;
    }
    file.as_file().set_permissions(metadata.permissions())?;
    file.as_file().sync_all()?;
    if fs::read(path)? != was.as_bytes() {
        return Err(io::Error::other("somebody has changed it in the meantime"));
    }
    file.persist(path).map_err(|error| error.error)?;
    File::open(folder)?.sync_all()
}

/// What a right lets a script do, for the person who decides.
pub fn meaning(kind: &str, right: Right) -> &'static str {
    match (kind, right) {
        ("database", Right::Read) => "read everything in it",
        ("database", Right::Write) => "change everything in it, by any SQL",
        ("database", Right::Fence) => "nobody else can open it while it is fenced; lifted when the run ends",
        ("database" | "tree", Right::Backup) => "copy it, and keep the copy until `backout commit`",
        ("database" | "tree", Right::Restore) => "put the copy in its place; what was there is kept aside",
        ("tree", Right::Read) => "read every file in it",
        ("tree", Right::Write) => "write and install files in it, set links",
        ("service", Right::Read) => "ask whether it runs",
        ("service", Right::Control) => "start, stop, restart and reload it",
        ("service", Right::Logs) => "read its log",
        ("metrics", Right::Promql) => "ask its server for any number that it knows, of other products too",
        ("metrics", _) => "ask for the numbers that it names",
        ("probe", Right::Get) => "send GET requests to any path below its address",
        ("probe", Right::Load) => "send many requests at once, up to the site's limit",
        ("tool", _) => "run the command that the site wrote, whenever it likes",
        ("channel", _) => "tell people there what it likes, as its own words",
        _ => "",
    }
}
