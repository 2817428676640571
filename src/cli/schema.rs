//! The schemas of databases as they are now, against what a package declares of them.
use crate::{
    diagnostic::{Location, Mistake, Mistakes, shown},
    package::{Package, Schema},
    report::text,
    resource::{CallCtx, Failure, ResourceId, Resources, Right, Rights, Sight, database},
};
use std::{sync::Arc, time::Duration};

/// For one look.
const PATIENCE: Duration = Duration::from_secs(60);

/// What was found in a database of which the package declares the schema.
pub struct Looked<'p> {
    package: &'p Package,
    schema: &'p Schema,
    id: ResourceId,
    /// The revision, or why nobody can tell it.
    live: Result<String, Failure>,
}

/// A database as it is lent or shown.
struct There {
    id: ResourceId,
    rights: Rights,
    observer: Arc<database::Observer>,
}

pub async fn lent<'p>(package: &'p Package, resources: &Resources) -> Vec<Looked<'p>> {
    let there = |label: &str| {
        let lend = resources.database.0.get(label)?;
        Some(There { id: lend.id.clone(), rights: lend.rights.clone(), observer: lend.access.observer.clone() })
    };
    look(package, there).await
}

pub async fn seen<'p>(package: &'p Package, sight: &Sight) -> Vec<Looked<'p>> {
    let there = |label: &str| {
        let seen = sight.database.get(label)?;
        Some(There { id: seen.id.clone(), rights: seen.rights.clone(), observer: seen.observer.clone() })
    };
    look(package, there).await
}

/// A database that the script can do without may not be there.
async fn look<'p>(package: &'p Package, there: impl Fn(&str) -> Option<There>) -> Vec<Looked<'p>> {
    let mut all = Vec::new();
    for schema in &package.manifest.schemas {
        let Some(There { id, rights, observer }) = there(&schema.label) else { continue };
        let call = CallCtx::aside(format!("schema/{id}"), PATIENCE);
        let live = match rights.allow(Right::Read) {
            false => Err(Failure::denied("`read` is not granted")),
            true => {
                let live = database::live_revision(&*observer, schema.revisions.query.as_deref(), &call);
                let late = |_| Err(Failure::timed_out("it takes more than a minute"));
                tokio::time::timeout(PATIENCE, live).await.unwrap_or_else(late)
            }
        };
        all.push(Looked { package, schema, id, live });
    }
    all
}

impl Looked<'_> {
    fn database(&self) -> String {
        text::resource(&self.id.to_string())
    }

    /// `database orders has the schema revision 16`
    pub fn told(&self) -> Result<String, String> {
        let database = self.database();
        match (&self.live, &self.schema.revisions.query) {
            (Ok(live), Some(_)) => Ok(format!("{database} has the schema revision {}", shown(live))),
            (Ok(live), None) => Ok(format!("{database} has the schema {}", shown(live))),
            (Err(failure), _) => {
                Err(format!("nobody can tell the schema of {database}: {}", shown(&failure.to_string())))
            }
        }
    }

    pub fn location(&self) -> &Location {
        &self.schema.location
    }

    fn goes(&self) -> String {
        format!("{} goes {}", self.package.title(), self.schema.span())
    }

    /// Why the package cannot upgrade what is there.
    pub fn no_start(&self) -> Option<Mistake> {
        let from = &self.schema.revisions.from;
        let mistake = match (self.told(), &self.live) {
            (Ok(_), Ok(live)) if from.contains(live) => return None,
            (Ok(told), _) => Mistake::new(format!("{told}; {}", self.goes()))
                .hint("bring the database to a schema from which the package goes, or use another package"),
            (Err(why), _) => Mistake::new(why).hint(format!(
                "`schema.{}` of the manifest says how it is told; nothing is begun without",
                self.schema.label
            )),
        };
        Some(mistake.at(&self.schema.location))
    }

    /// Why going back would throw away what the package does not know.
    pub fn gone_on(&self) -> Option<String> {
        let Schema { revisions, .. } = self.schema;
        match (self.told(), &self.live) {
            (Ok(_), Ok(live)) if revisions.from.contains(live) || revisions.to == *live => None,
            (Ok(told), _) => {
                let why = format!("{told}; {}", self.goes());
                Some(format!("{why}: somebody has gone on since, and going back would throw that away"))
            }
            (Err(why), _) => Some(format!("{why}: going back may throw away what somebody has gone on with")),
        }
    }
}

/// Refuses unless the package can begin from what is there.
pub async fn refuse_another(package: &Package, resources: &Resources) -> Result<(), Mistakes> {
    Mistakes(lent(package, resources).await.iter().filter_map(Looked::no_start).collect()).none_or()
}
