//! The sections of a site file: the document as a whole, what its sections have in common, and one file for each kind of
//! resource.
mod channel;
mod database;
mod mariadb;
mod metrics;
mod probe;
mod repository;
mod service;
mod tool;
mod tree;

use super::{KINDS, Product, Site, VersionOf, allow, answers, approver, limits, path, secret};
use crate::{
    diagnostic::{
        Location, Mistake, Source,
        reader::{self, At, Item, Table},
        shown,
    },
    package,
    resource::{self, ResourceId, repository::Repository},
};
use std::{
    collections::BTreeMap,
    path::{Component, Path, PathBuf},
    sync::Arc,
    time::Duration,
};

/// Two weeks: long enough for a month's end to show what was lost, short enough for a disk.
const KEEP_ASIDE: Duration = Duration::from_secs(14 * 24 * 3600);

/// What one pass over the file finds. Names of other resources in it are not looked up yet.
pub struct Draft {
    state: PathBuf,
    product: Option<Product>,
    pub sections: Sections,
    allow: Vec<allow::Allow>,
    limits: limits::Limits,
    approvers: BTreeMap<String, approver::Approver>,
    answering: (resource::answers::Section, Option<Location>),
    repositories: BTreeMap<String, Repository>,
}

#[derive(Default)]
pub struct Sections {
    pub databases: BTreeMap<String, resource::database::Section>,
    pub trees: BTreeMap<String, resource::tree::Section>,
    pub services: BTreeMap<String, resource::service::Section>,
    pub metrics: BTreeMap<String, resource::metrics::Section>,
    pub probes: BTreeMap<String, resource::probe::Section>,
    pub tools: BTreeMap<String, resource::tool::Section>,
    pub channels: BTreeMap<String, resource::channel::Section>,
    pub allow_root: Vec<ResourceId>,
    pub twins: BTreeMap<ResourceId, At<String>>,
    /// All that is named, also where its section has mistakes: what uses it is not wrong then.
    pub locations: BTreeMap<ResourceId, Location>,
}

impl Draft {
    pub fn site(self, path: PathBuf, dir: PathBuf, source: Arc<Source>) -> Site {
        let s = self.sections;
        Site {
            path,
            dir,
            state: self.state,
            digest: format!("sha256:{}", package::sha256(source.text().as_bytes())),
            databases: s.databases,
            trees: s.trees,
            services: s.services,
            metrics: s.metrics,
            probes: s.probes,
            tools: s.tools,
            channels: s.channels,
            product: self.product,
            allow: self.allow.into_iter().map(|allow| (allow.package.clone(), allow)).collect(),
            limits: self.limits,
            approvers: self.approvers,
            answering: self.answering.0,
            answering_location: self.answering.1,
            repositories: self.repositories,
            allow_root: s.allow_root,
            twins: s.twins,
            source,
            locations: s.locations,
        }
    }
}

pub fn document(root: Table<'_>, dir: &Path) -> Draft {
    let state = root.table("site").and_then(|table| {
        let state = table.get("state").and_then(|item| item.text());
        table.finish();
        state
    });
    let state = path::absolute(dir, state.as_ref().map_or("state", |at| &at.value));
    let product = product(&root);
    let mut sections = Sections::default();
    for kind in KINDS {
        for item in root.named(kind) {
            sections.locations.insert(ResourceId::new(*kind, &item.key), item.key_location());
        }
    }
    let repositories = repository::repositories(&root, dir);
    let reader = Reading { dir, locations: &sections.locations, repositories: &repositories };
    let mut allow_root = Vec::new();
    let mut root_allowed = |kind: &str, name: &str, table: &Table<'_>| {
        if table.boolean("allow-root").unwrap_or(false) {
            allow_root.push(ResourceId::new(kind, name));
        }
    };
    let mut twins = BTreeMap::new();
    let mut twin = |kind: &str, name: &str, table: &Table<'_>| {
        twins.extend(reader.twin(kind, table).map(|twin| (ResourceId::new(kind, name), twin)));
    };
    let databases = each(&root, "database", |_, table| reader.database(table));
    let trees = each(&root, "tree", |_, table| reader.tree(table));
    let mut services = each(&root, "service", |name, table| {
        root_allowed("service", name, &table);
        twin("service", name, &table);
        reader.service(table)
    });
    services.values_mut().for_each(|service| service.driver.place(|tree| Some(trees.get(tree)?.path.clone())));
    let metrics = each(&root, "metrics", |name, table| {
        twin("metrics", name, &table);
        reader.metrics(table, &state)
    });
    let probes = each(&root, "probe", |name, table| {
        twin("probe", name, &table);
        reader.probe(table)
    });
    let tools = each(&root, "tool", |name, table| {
        root_allowed("tool", name, &table);
        twin("tool", name, &table);
        reader.tool(table)
    });
    let channels = each(&root, "channel", |name, table| {
        root_allowed("channel", name, &table);
        reader.channel(table)
    });
    let allow = allow::allow(&root);
    let limits = limits::limits(&root);
    let approvers = approver::approvers(&root, dir);
    let answering = answers::answers(&root, dir, &channels, &sections.locations);
    root.finish();
    let sections = Sections {
        databases,
        trees,
        services,
        metrics,
        probes,
        tools,
        channels,
        allow_root,
        twins,
        locations: sections.locations,
    };
    let repositories = repositories.into_iter().filter_map(|(name, found)| Some((name, found?))).collect();
    Draft { state, product, sections, allow, limits, approvers, answering, repositories }
}

fn each<'d, S>(
    root: &Table<'d>,
    kind: &str,
    mut read: impl FnMut(&str, Table<'d>) -> Option<S>,
) -> BTreeMap<String, S> {
    // Wrong names have been reported when the names were collected.
    let Some(Some(table)) = root.get(kind).map(|item| item.is_table().then(|| item.table()).flatten()) else {
        return BTreeMap::new();
    };
    let entries = table.entries().into_iter().filter(|item| reader::name(&item.key).is_ok());
    entries.filter_map(|item| Some((item.key.clone(), read(&item.key, item.table()?)?))).collect()
}

fn product(root: &Table<'_>) -> Option<Product> {
    let mut products = root.named("product").into_iter();
    let item = products.next()?;
    for more in products {
        let mistake = Mistake::new(format!("`{}` is a second product", more.key)).at(&more.key_location());
        root.mistake(mistake.hint("a site file is for one product: give each one a file of its own"));
    }
    let table = item.table()?;
    let version = table.get("version").and_then(|item| {
        let version = item.table()?;
        let link = version.required("link", "\"tree:current\"").and_then(|item| item.text());
        version.finish();
        let At { value, location } = link?;
        let inner = |path: &Path| path.components().all(|c| matches!(c, Component::Normal(_)));
        match value.split_once(':') {
            Some((tree, link)) if !link.is_empty() && inner(Path::new(link)) => {
                let tree = tree.to_owned();
                if root.get("tree").and_then(|trees| trees.table()?.get(&tree)).is_none() {
                    let mistake = Mistake::new(format!("there is no tree `{}`", shown(&tree)));
                    let trees = root.named("tree");
                    item.mistake_at(mistake.known(&tree, trees.iter().map(|t| t.key.as_str())), &location);
                }
                Some(VersionOf { tree, link: link.into() })
            }
            _ => {
                let mistake = Mistake::new(format!("`{}` names no link in a tree", shown(&value)));
                item.mistake_at(mistake.hint("write `TREE:PATH`, as in `shop-app:current`"), &location);
                None
            }
        }
    });
    let location = table.location();
    table.finish();
    Some(Product { name: item.key.clone(), version, location })
}

struct Reading<'a> {
    dir: &'a Path,
    locations: &'a BTreeMap<ResourceId, Location>,
    repositories: &'a BTreeMap<String, Option<Repository>>,
}

impl Reading<'_> {
    /// `path = "…"`, resolved.
    fn path(&self, table: &Table<'_>) -> Option<PathBuf> {
        let text = table.required("path", "\"…\"").and_then(|item| item.text())?;
        Some(path::absolute(self.dir, &text.value))
    }

    /// `rehearse = "…"`: another one of the same kind.
    fn twin(&self, kind: &str, table: &Table<'_>) -> Option<At<String>> {
        let twin = table.get("rehearse").and_then(|item| item.text())?;
        if self.locations.contains_key(&ResourceId::new(kind, &twin.value)) {
            return Some(twin);
        }
        let mistake = Mistake::new(format!("there is no {kind} `{}`", shown(&twin.value)));
        let known = self.locations.keys().filter(|id| id.kind == kind).map(|id| id.name.as_str());
        table.mistake(mistake.at(&twin.location).known(&twin.value, known));
        None
    }

    /// `headers = { NAME = "…" }`, sent with each request.
    fn headers(&self, table: &Table<'_>) -> BTreeMap<String, resource::Header> {
        let headers = secret::values(table, "headers", self.dir).into_iter();
        let header = |value: secret::Value| resource::Header { value: value.text, secret: value.secret };
        let headers: BTreeMap<_, _> = headers.map(|(name, value)| (name, header(value))).collect();
        for name in headers.keys() {
            let fine = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
            if name.is_empty() || !name.chars().all(fine) {
                let mistake = Mistake::new(format!("`{}` cannot be the name of a header", shown(name)));
                table.mistake(mistake.at(&table.location()));
            }
        }
        headers
    }

    fn command(&self, table: &Table<'_>) -> Option<Command> {
        let run = table.required("run", LINE);
        let surroundings = self.surroundings(table);
        Some(Command { run: self.words(&run?)?, surroundings })
    }

    /// Where, with what and as whom programs run.
    fn surroundings(&self, table: &Table<'_>) -> Surroundings {
        let env = secret::values(table, "env", self.dir);
        for name in env.keys() {
            if name.is_empty() || name.contains(['=', '\0']) {
                let mistake = Mistake::new(format!("`{}` cannot be the name of a variable", shown(name)));
                table.mistake(mistake.at(&table.location()));
            }
        }
        let dir = table.get("dir").and_then(|item| item.text());
        let user = table.get("user").and_then(|item| item.text());
        Surroundings {
            dir: dir.map_or_else(|| self.dir.to_owned(), |at| path::absolute(self.dir, &at.value)),
            env: env.into_iter().map(|(name, value)| (name, value.text)).collect(),
            user: user.map(|at| at.value),
        }
    }

    /// Program and arguments.
    fn words(&self, run: &Item<'_>) -> Option<Vec<String>> {
        let mut words = run.strings()?.into_iter().map(|at| at.value);
        let Some(program) = words.next().filter(|program| !program.is_empty()) else {
            run.mistake(
                Mistake::new(format!("`{}` names no program", run.name)).hint("write `[\"program\", \"argument\"]`"),
            );
            return None;
        };
        Some(std::iter::once(path::program(self.dir, &program)).chain(words).collect())
    }

    /// Databases and trees, by name; by `kind:name` where a name is both.
    fn uses(&self, table: &Table<'_>) -> Vec<ResourceId> {
        let names = table.strings("uses").unwrap_or_default();
        let find = |at: &At<String>| {
            let used = ["database", "tree"].map(|kind| match at.value.split_once(':') {
                Some((k, name)) if k == kind => ResourceId::new(kind, name),
                _ => ResourceId::new(kind, &at.value),
            });
            let mut found = used.into_iter().filter(|id| self.locations.contains_key(id));
            match (found.next(), found.next()) {
                (Some(id), None) => Some(id),
                (Some(_), Some(_)) => {
                    let mistake = Mistake::new(format!("`{}` is a database and a tree", shown(&at.value)));
                    let hint = format!("write `database:{0}` or `tree:{0}`", shown(&at.value));
                    table.mistake(mistake.at(&at.location).hint(hint));
                    None
                }
                (None, _) => {
                    let mistake = Mistake::new(format!("there is no database or tree `{}`", shown(&at.value)));
                    let known = self.locations.keys().filter(|id| id.kind == "database" || id.kind == "tree");
                    let known = known.map(|id| id.name.as_str());
                    table.mistake(mistake.at(&at.location).known(&at.value, known));
                    None
                }
            }
        };
        names.iter().filter_map(find).collect()
    }
}

/// How a command line is written.
const LINE: &str = "[\"program\", \"argument\"]";

struct Command {
    run: Vec<String>,
    surroundings: Surroundings,
}

struct Surroundings {
    dir: PathBuf,
    env: BTreeMap<String, String>,
    user: Option<String>,
}

/// `http://` or `https://` with a host. Never with a password in it.
fn url(item: &Item<'_>) -> Option<String> {
    let text = item.text()?.value;
    let rest = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"));
    let host = rest.map(|rest| rest.split(['/', '?', '#']).next().unwrap_or_default());
    match host {
        Some(host) if host.contains('@') => {
            let mistake = Mistake::new(format!("`{}` has a user or password in it", item.name));
            item.mistake(mistake.hint("send it as a header: `headers.authorization = { file = \"secrets/…\" }`"));
            None
        }
        Some(host) if !host.is_empty() && !text.contains(char::is_whitespace) => Some(text),
        _ => {
            let mistake = Mistake::new(format!("`{}` is no address of a page", item.name));
            item.mistake(mistake.hint("write `http://host:port/path`"));
            None
        }
    }
}
