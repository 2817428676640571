mod host;
mod page;
mod process;
mod prometheus;
mod series;
pub mod simulated;

pub use host::NAMES as HOST;
pub use process::NAMES as PROCESS;

use super::{Driver, Failure, Metrics, Observer, Section, Unchangeable};
use crate::resource::{Access, service};
use std::{collections::BTreeMap, sync::Arc};

/// `service` finds the observer of a service of the site by name.
pub fn open(
    section: &Section,
    service: impl Fn(&str) -> Option<Arc<service::Observer>>,
) -> Result<Access<Metrics>, Failure> {
    let observer: Arc<Observer> = match &section.driver {
        Driver::Host { disk } => Arc::new(host::Host::new(disk)),
        Driver::Process { service: name } => {
            let observer = service(name).ok_or_else(|| Failure::invalid(format!("there is no service `{name}`")))?;
            Arc::new(process::Process::new(observer))
        }
        Driver::Prometheus(section) => Arc::new(prometheus::Server::new(section)?),
        Driver::Page { url, timeout, queries } => Arc::new(page::ProductPage::new(url, *timeout, queries)?),
    };
    Ok(Access { observer, mutator: Arc::new(Unchangeable) })
}

/// Every name is one that the resource has.
fn known(names: &[String], have: &[String]) -> Result<(), Failure> {
    match names.iter().find(|name| !have.contains(name)) {
        Some(name) => Err(Failure::invalid(format!("there is no metric `{name}`, there is: {}", have.join(", ")))),
        None => Ok(()),
    }
}

fn only_of_this_machine() -> Failure {
    Failure::invalid("these are metrics of a product; those of this machine need a resource with the driver `host`")
}

type Values = BTreeMap<String, Option<f64>>;
