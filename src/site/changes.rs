//! What of a site file a run rests on, so that whoever goes on with it can say what has changed since.
use super::Site;
use crate::{package::Package, resource::Resources};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};

impl Site {
    /// `sha256:…` of the sections that bear on a run of the package, by their names (`database.orders`). Comments and order
    /// are no part of them.
    pub fn sections_of(&self, package: &Package, resources: &Resources) -> BTreeMap<String, String> {
        let Ok(document) = self.text().parse::<toml::Table>() else { return BTreeMap::new() };
        let lent = resources.labels().into_values().map(|id| (id.kind, id.name));
        let of_package = ["allow", "product"].map(|kind| (kind.to_owned(), package.manifest.name.clone()));
        let wanted: BTreeSet<(String, String)> = lent.chain(of_package).collect();
        let mut sections = BTreeMap::new();
        for (kind, name) in wanted {
            if let Some(section) = document.get(&kind).and_then(|kind| kind.get(&name)) {
                // Keys of a table are sorted, so the same section has the same text.
                let text = serde_json::to_string(section).unwrap_or_default();
                sections.insert(format!("{kind}.{name}"), format!("sha256:{:x}", Sha256::digest(text)));
            }
        }
        sections
    }
}

/// What is not as it was, in a line each.
pub fn changes(was: &BTreeMap<String, String>, is: &BTreeMap<String, String>) -> Vec<String> {
    let gone = was.keys().filter(|name| !is.contains_key(*name)).map(|name| format!("[{name}] is gone"));
    let new = is.keys().filter(|name| !was.contains_key(*name)).map(|name| format!("[{name}] is new"));
    let other = is.iter().filter(|(name, digest)| was.get(*name).is_some_and(|was| was != *digest));
    gone.chain(new).chain(other.map(|(name, _)| format!("[{name}] has changed"))).collect()
}
