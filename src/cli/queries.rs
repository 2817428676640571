//! Queries of metrics that only their server can read: what is wrong with them is said before anything begins.
use crate::{
    diagnostic::{Location, Mistake, shown},
    report::text,
    resource::{CallCtx, FailureKind, ResourceId, Resources, metrics},
    site::Site,
};
use std::{collections::BTreeMap, sync::Arc, time::Duration};

/// For all queries of one server.
const PATIENCE: Duration = Duration::from_secs(30);

/// What servers say of the queries of a site.
#[derive(Default)]
pub struct Asked {
    pub mistakes: Vec<Mistake>,
    /// Where nobody could say: what was wrong, and where the resource stands in the site.
    pub unknown: Vec<(String, Option<Location>)>,
}

/// Metrics by their place in the site, with the names that will be asked for.
type There = BTreeMap<ResourceId, (Arc<metrics::Observer>, Vec<String>)>;

pub async fn lent(site: &Site, resources: &Resources) -> Asked {
    let mut there = There::new();
    for lend in resources.metrics.0.values() {
        // Two labels may stand for one resource.
        let observer = &lend.access.observer;
        let (_, names) = there.entry(lend.id.clone()).or_insert_with(|| (observer.clone(), Vec::new()));
        let have = observer.names();
        let new = lend.terms.queries.iter().filter(|name| have.contains(name));

        for name in new {
            if !names.contains(name) {
                names.push(name.clone());
            }
        }
    }
    let mut asked = Asked::default();
    for (id, (observer, names)) in there {
        let call = CallCtx::aside(format!("queries/{id}"), PATIENCE);
        let (name, location) = (text::resource(&id.to_string()), site.location(&id));
        for (_, failure) in observer.wrong(&names, &call).await {
            let said = format!("{name}: {}", shown(&failure.message));
            if failure.kind == FailureKind::Invalid {
                let mistake = Mistake::new(said);
                asked.mistakes.push(match location {
                    Some(location) => mistake.at(location),
                    None => mistake,
                });
            } else if !asked.unknown.iter().any(|(known, _)| *known == said) {
                asked.unknown.push((said, location.cloned()));
            }
        }
    }
    asked
}
