//! The resources of a simulated world.
use crate::{
    package::Package,
    resource::{
        Access, Channel, Database, Kind, Lend, Lent, Metrics, Probe, ResourceId, Resources, Rights, Service, Shown,
        Sight, Tool, Tree, channel, database, metrics, probe, service, tool, tree, world::World,
    },
};
use std::time::Duration;

/// Where there is no site: everything that the package asks for is there, under its own name, and granted. What services
/// and tools may change is not known, so it is all that the package asks for and can be copied.
pub fn invent(package: &Package, world: &World) -> Resources {
    let needs = &package.manifest.needs;
    let id = |need: &crate::package::Need| ResourceId::new(need.kind.as_str(), need.label.as_str());
    let databases: Vec<ResourceId> = needs.iter().filter(|need| need.kind == Database::NAME).map(id).collect();
    let mut resources = Resources::default();
    for need in needs {
        let (id, label, rights) = (id(need), need.label.as_str(), need.may.clone());
        match need.kind.as_str() {
            Database::NAME => {
                let access = database::drivers::simulated::simulate(&id, None, world);
                put(&mut resources.database, label, id, rights, (), &[], access);
            }
            Tree::NAME => {
                let access = tree::drivers::simulated::simulate(&id, None, world);
                put(&mut resources.tree, label, id, rights, (), &[], access);
            }
            Service::NAME => {
                let access = service::drivers::simulated::simulate(&id, &databases, None, world);
                put(&mut resources.service, label, id, rights, (), &databases, access);
            }
            Metrics::NAME => {
                let queries: Vec<String> = need.queries.iter().map(|query| query.value.clone()).collect();
                let access = metrics::drivers::simulated::simulate(&id, &queries, None, world);
                put(&mut resources.metrics, label, id, rights, metrics::Terms { queries }, &[], access);
            }
            Probe::NAME => {
                let access = probe::drivers::simulated::simulate(None, world);
                put(&mut resources.probe, label, id, rights, (), &[], access);
            }
            Tool::NAME => {
                let terms = tool::Terms { idempotent: false, timeout: Duration::from_secs(3600) };
                let access = tool::drivers::simulated::simulate(&id, &databases, world);
                put(&mut resources.tool, label, id, rights, terms, &databases, access);
            }
            Channel::NAME => {
                let terms = channel::Terms { package: package.title(), within: Duration::from_secs(60) };
                let access = channel::drivers::simulated::simulate(&id, world);
                put(&mut resources.channel, label, id, rights, terms, &[], access);
            }
            _ => {}
        }
    }
    resources
}

/// Over what is really there.
pub fn over(real: &Sight, world: &World) -> Resources {
    let mut resources = Resources::default();
    for (label, lend) in &real.database {
        let seen = Some(lend.observer.clone());
        again(&mut resources.database, label, lend, database::drivers::simulated::simulate(&lend.id, seen, world));
    }
    for (label, lend) in &real.tree {
        let seen = Some(lend.observer.clone());
        again(&mut resources.tree, label, lend, tree::drivers::simulated::simulate(&lend.id, seen, world));
    }
    for (label, lend) in &real.service {
        let seen = Some(lend.observer.clone());
        let access = service::drivers::simulated::simulate(&lend.id, &lend.uses, seen, world);
        again(&mut resources.service, label, lend, access);
    }
    for (label, lend) in &real.metrics {
        let seen = Some(lend.observer.clone());
        let access = metrics::drivers::simulated::simulate(&lend.id, &lend.terms.queries, seen, world);
        again(&mut resources.metrics, label, lend, access);
    }
    for (label, lend) in &real.probe {
        let seen = Some(lend.observer.clone());
        again(&mut resources.probe, label, lend, probe::drivers::simulated::simulate(seen, world));
    }
    for (label, lend) in &real.tool {
        again(&mut resources.tool, label, lend, tool::drivers::simulated::simulate(&lend.id, &lend.uses, world));
    }
    for (label, lend) in &real.channel {
        again(&mut resources.channel, label, lend, channel::drivers::simulated::simulate(&lend.id, world));
    }
    resources
}

fn again<K: Kind>(lent: &mut Lent<K>, label: &str, lend: &Shown<K>, access: Access<K>) {
    put(lent, label, lend.id.clone(), lend.rights.clone(), lend.terms.clone(), &lend.uses, access);
}

fn put<K: Kind>(
    lent: &mut Lent<K>,
    label: &str,
    id: ResourceId,
    rights: Rights,
    terms: K::Terms,
    uses: &[ResourceId],
    access: Access<K>,
) {
    lent.0.insert(label.to_owned(), Lend { id, rights, terms, uses: uses.to_vec(), access });
}
