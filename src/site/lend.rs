//! Needs ∩ grants, with the drivers behind them.
use super::Site;
use crate::{
    diagnostic::{Mistake, Mistakes},
    package::{Need, Package},
    resource::{
        Access, Channel, Database, Failure, Kind, Lend, Lent, Metrics, Probe, ResourceId, Resources, Rights, Service,
        Tool, Tree, channel, database, metrics, probe, service, tool, tree,
    },
};

impl Site {
    /// What the package is lent, by its own labels. Nothing is while a right is missing or a version is not allowed; an
    /// optional need without a grant is simply not there.
    pub fn lend(&self, package: &Package) -> Result<Resources, Mistakes> {
        self.check(package).refuse(package)?;
        let mut lending = Lending { package: package.title(), ..Lending::new(self) };
        for need in &package.manifest.needs {
            let Some(grant) = self.grant(package, need) else { continue };
            lending.lend(&need.label, &grant.is, need.may.both(&grant.may), Some(need));
        }
        lending.done()
    }

    /// Every resource under its own name, with all rights: for what the host does by itself.
    pub fn everything(&self) -> Result<Resources, Mistakes> {
        let mut lending = Lending::new(self);
        for id in self.locations.keys().filter(|id| !self.is_twin(id)) {
            lending.lend(&id.name, id, Rights::all(), None);
        }
        lending.done()
    }
}

struct Lending<'s> {
    site: &'s Site,
    /// Whose script it is for; empty: the host's own.
    package: String,
    resources: Resources,
    mistakes: Mistakes,
}

impl<'s> Lending<'s> {
    fn new(site: &'s Site) -> Self {
        Self { site, package: String::new(), resources: Resources::default(), mistakes: Mistakes::default() }
    }

    fn done(mut self) -> Result<Resources, Mistakes> {
        std::mem::take(&mut self.mistakes).none_or()?;
        Ok(self.resources)
    }

    fn lend(&mut self, label: &str, id: &ResourceId, rights: Rights, need: Option<&Need>) {
        let Self { site, resources, .. } = self;
        let (name, state) = (id.name.as_str(), site.state.as_path());
        let lent = match id.kind.as_str() {
            Database::NAME => site.databases.get(name).map(|section| {
                let access = database::drivers::open(name, section);
                put(&mut resources.database, label, id, rights, (), &[], access);
                Ok(())
            }),
            Tree::NAME => site.trees.get(name).map(|section| {
                let access = tree::drivers::open(name, section, state);
                put(&mut resources.tree, label, id, rights, (), &[], access);
                Ok(())
            }),
            Service::NAME => site.services.get(name).map(|section| {
                let access = service::drivers::open(name, section, state);
                put(&mut resources.service, label, id, rights, (), &section.uses, access);
                Ok(())
            }),
            Metrics::NAME => site.metrics.get(name).map(|section| {
                let service = |name: &str| {
                    let section = site.services.get(name)?;
                    Some(service::drivers::open(name, section, state).observer)
                };
                let access = metrics::drivers::open(section, service)?;
                // Without a need there is nobody who could ask for more than the resource has.
                let queries = match need {
                    Some(need) => need.queries.iter().map(|query| query.value.clone()).collect(),
                    None => access.observer.names(),
                };
                put(&mut resources.metrics, label, id, rights, metrics::Terms { queries }, &[], access);
                Ok(())
            }),
            Probe::NAME => site.probes.get(name).map(|section| {
                put(&mut resources.probe, label, id, rights, (), &[], probe::drivers::open(section)?);
                Ok(())
            }),
            Tool::NAME => site.tools.get(name).map(|section| {
                let terms = tool::Terms { idempotent: section.idempotent, timeout: section.timeout };
                put(&mut resources.tool, label, id, rights, terms, &section.uses, tool::drivers::open(name, section));
                Ok(())
            }),
            Channel::NAME => site.channels.get(name).map(|section| {
                let terms = channel::Terms { package: self.package.clone(), within: section.within };
                put(&mut resources.channel, label, id, rights, terms, &[], channel::drivers::open(name, section)?);
                Ok(())
            }),
            _ => None,
        };
        let failed: Option<Failure> = lent.and_then(Result::err);
        if let Some(failure) = failed {
            let mistake = Mistake::new(format!("{} `{}`: {}", id.kind, id.name, failure.message));
            self.mistakes.0.push(match self.site.location(id) {
                Some(location) => mistake.at(location),
                None => mistake,
            });
        }
    }
}

fn put<K: Kind>(
    lent: &mut Lent<K>,
    label: &str,
    id: &ResourceId,
    rights: Rights,
    terms: K::Terms,
    uses: &[ResourceId],
    access: Access<K>,
) {
    lent.0.insert(label.to_owned(), Lend { id: id.clone(), rights, terms, uses: uses.to_vec(), access });
}
