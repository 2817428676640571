//! What a package is lent in a rehearsal: copies, twins, and what is simulated because there is neither.
use crate::{
    diagnostic::Mistakes,
    gate::{Considered, Fate},
    journal::Place,
    package::Package,
    resource::{
        Access, Channel, Clock, Database, Failure, Kind, Lent, Metrics, Probe, ResourceId, Resources, Service, Tool,
        Tree, channel, metrics, probe, service, tool, world::World,
    },
    site::Site,
};
use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError},
};

pub struct StandIns {
    pub resources: Resources,
    /// Databases and trees: what is lent, and what a twin uses.
    pub copies: Vec<ResourceId>,
    pub twins: BTreeSet<ResourceId>,
    pub simulated: BTreeSet<ResourceId>,
    pub parts: Arc<Parts>,
}

impl StandIns {
    /// Nothing is opened, and nothing has to be there yet.
    pub fn of(site: &Site, package: &Package) -> Result<Self, Mistakes> {
        let world = World::new(Clock::simulated(Clock::Real.unix_millis()));
        let live = site.lend(package)?;
        let mut resources = site.rehearsal().lend(package)?;
        let real = |label: &String| live.service.0.get(label).map(|lend| lend.access.observer.clone());
        replace(&mut resources.service, site, |label, id, lend| {
            service::drivers::simulated::simulate(id, &lend.uses, real(label), &world)
        });
        replace(&mut resources.tool, site, |_, id, lend| tool::drivers::simulated::simulate(id, &lend.uses, &world));
        replace(&mut resources.metrics, site, |_, id, lend| {
            metrics::drivers::simulated::simulate(id, &lend.terms.queries, None, &world)
        });
        // Nobody is told of what only was a rehearsal.
        replace(&mut resources.channel, site, |_, id, _| channel::drivers::simulated::simulate(id, &world));
        let real = |label: &String| live.probe.0.get(label).map(|lend| lend.access.observer.clone());
        replace(&mut resources.probe, site, |label, _, _| probe::drivers::simulated::simulate(real(label), &world));
        let ids: Vec<(String, ResourceId)> = resources.labels().into_iter().collect();
        let mut copies: BTreeSet<ResourceId> = ids
            .iter()
            .map(|(_, id)| id)
            .filter(|id| [Database::NAME, Tree::NAME].contains(&&*id.kind))
            .cloned()
            .collect();
        let used = |(id, uses): (&ResourceId, &Vec<ResourceId>)| (!site.is_simulated(id)).then(|| uses.clone());
        let services = resources.service.0.values().map(|lend| (&lend.id, &lend.uses)).filter_map(used);
        copies.extend(services.flatten());
        copies.extend(resources.tool.0.values().map(|lend| (&lend.id, &lend.uses)).filter_map(used).flatten());
        let simulated = ids.iter().filter(|(_, id)| site.is_simulated(id));
        let parts = Parts {
            simulated: simulated.clone().map(|(label, _)| label.clone()).collect(),
            world,
            touched: Mutex::default(),
        };
        Ok(Self {
            copies: copies.into_iter().collect(),
            twins: ids.iter().map(|(_, id)| id).filter(|id| site.twin(id).is_some()).cloned().collect(),
            simulated: simulated.map(|(_, id)| id.clone()).collect(),
            parts: Arc::new(parts),
            resources,
        })
    }
}

/// Puts a simulated driver where there is no twin.
fn replace<K: Kind>(
    lent: &mut Lent<K>,
    site: &Site,
    simulate: impl Fn(&String, &ResourceId, &crate::resource::Lend<K>) -> Access<K>,
) {
    for (label, lend) in &mut lent.0 {
        if site.is_simulated(&lend.id) {
            lend.access = simulate(label, &lend.id, lend);
        }
    }
}

/// Which calls are only simulated.
pub struct Parts {
    /// `service.shop`, by the package's labels
    simulated: BTreeSet<String>,
    world: World,
    /// Steps that have made such a call.
    touched: Mutex<BTreeSet<(String, bool)>>,
}

impl Parts {
    /// Whether all of the step was real, so that the time that it took says something.
    pub fn was_real(&self, place: &Place) -> bool {
        let touched = self.touched.lock().unwrap_or_else(PoisonError::into_inner);
        !touched.contains(&(place.title(), place.rolled_back))
    }

    fn has(&self, kind: &str, label: &str) -> bool {
        self.simulated.contains(&format!("{kind}.{label}"))
    }
}

impl Fate for Parts {
    fn fails(&self, call: &Considered<'_>) -> Option<Failure> {
        call.right?;
        if self.has(call.kind, call.label) {
            let mut touched = self.touched.lock().unwrap_or_else(PoisonError::into_inner);
            touched.insert((call.place.title(), call.place.rolled_back));
        } else if call.changes && self.world.changes().is_empty() {
            // From here on what is live answers no more for what is simulated.
            let id = ResourceId::new(call.kind, call.label);
            self.world.says(&call.place.key(), &id, call.operation);
        }
        None
    }
    fn simulates(&self, call: &Considered<'_>) -> bool {
        self.has(call.kind, call.label)
    }
    /// Waiting for what is not there would only take time.
    fn clock(&self, kind: &str, label: &str) -> Option<Clock> {
        let simulated = [Service::NAME, Tool::NAME, Metrics::NAME, Probe::NAME, Channel::NAME].contains(&kind)
            && self.has(kind, label);
        simulated.then(|| self.world.clock.clone())
    }
    fn assumed(&self, _: &Considered<'_>) {}
}
