use anyhow::{Context, bail};
use serde::Deserialize;
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

/// A version of the shop, read from the folder that holds it.
#[derive(Clone, Debug)]
pub struct Release {
    pub version: String,
    /// The one that this release reads and writes.
    pub schema: u32,
    pub migrations: BTreeMap<u32, String>,
    /// How the database says a state, and how people read it.
    pub states: BTreeMap<String, String>,
    pub queries: Queries,
    pub page: String,
}

/// The SQL of a release: all that it knows about tables and columns.
#[derive(Clone, Debug)]
pub struct Queries {
    pub orders: String,
    pub order: String,
    pub items: String,
    pub place: String,
    pub add: String,
    pub summary: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Toml {
    version: String,
    schema: u32,
    migrations: BTreeMap<u32, PathBuf>,
    states: BTreeMap<String, String>,
}

impl Release {
    pub fn open(folder: &Path) -> anyhow::Result<Self> {
        let read = |name: &Path| {
            let path = folder.join(name);
            std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
        };
        let query = |name: &str| read(&Path::new("queries").join(name).with_extension("sql"));
        let toml: Toml = toml::from_str(&read(Path::new("release.toml"))?)
            .with_context(|| format!("cannot use {}", folder.join("release.toml").display()))?;
        if !toml.migrations.contains_key(&toml.schema) {
            bail!("release {} has no migration to its own schema {}", toml.version, toml.schema);
        }
        Ok(Self {
            migrations: toml
                .migrations
                .iter()
                .map(|(to, path)| Ok((*to, read(path)?)))
                .collect::<anyhow::Result<_>>()?,
            version: toml.version,
            schema: toml.schema,
            states: toml.states,
            queries: Queries {
                orders: query("orders")?,
                order: query("order")?,
                items: query("items")?,
                place: query("place")?,
                add: query("add")?,
                summary: query("summary")?,
            },
            page: read(Path::new("templates/page.html"))?,
        })
    }
}
