//! What this Backout offers to scripts, read from the WIT files themselves.
use crate::resource::Right;
use std::collections::{BTreeMap, BTreeSet};
use wit_parser::{Resolve, SourceMap, UnresolvedPackageGroup};

macro_rules! wit { ($($file:literal),* $(,)?) => {
    const FILES: &[(&str, &str)] = &[$((concat!($file, ".wit"), include_str!(concat!("../../wit/", $file, ".wit")))),*];
}; }
wit!(
    "approval",
    "backup",
    "clock",
    "context",
    "database",
    "files",
    "life-cycle",
    "log",
    "logs",
    "metrics",
    "payload",
    "probe",
    "report",
    "service",
    "store",
    "tool",
    "types",
    "world",
);

/// The functions of every interface of `backout:host`, by its name.
pub fn interfaces() -> Result<BTreeMap<String, BTreeSet<String>>, String> {
    let mut files = SourceMap::new();
    for (name, text) in FILES {
        files.push_str(name, *text);
    }
    let group: UnresolvedPackageGroup = files.parse().map_err(|(_, error)| error.to_string())?;
    let mut resolve = Resolve::default();
    resolve.push_group(group).map_err(|error| error.to_string())?;
    Ok(resolve
        .interfaces
        .iter()
        .filter_map(|(_, interface)| Some((interface.name.clone()?, interface.functions.keys().cloned().collect())))
        .collect())
}

/// The interfaces through which a script can use a right on a kind of resource.
pub fn serving(kind: &str, right: Right) -> &'static [&'static str] {
    match (kind, right) {
        ("database" | "tree", Right::Backup | Right::Restore) => &["backup"],
        ("database", _) => &["database"],
        ("tree", _) => &["files"],
        ("service", Right::Logs) => &["logs"],
        ("service", _) => &["service"],
        ("metrics", _) => &["metrics"],
        ("probe", _) => &["probe"],
        ("tool", _) => &["tool"],
        _ => &[],
    }
}

/// The kinds of resources on which an interface works; empty for those that need no grant.
pub fn kinds(interface: &str) -> &'static [&'static str] {
    match interface {
        "backup" => &["database", "tree"],
        "database" => &["database"],
        "files" => &["tree"],
        "service" | "logs" => &["service"],
        "metrics" => &["metrics"],
        "probe" => &["probe"],
        "tool" => &["tool"],
        _ => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::KINDS;

    #[test]
    fn every_wit_file_is_known_here() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/wit");
        let mut there: Vec<_> =
            std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        there.sort();
        let here: Vec<_> = FILES.iter().map(|(name, _)| *name).collect();
        assert_eq!(here, there, "add the file to `wit!` above");
    }

    #[test]
    fn every_right_is_served_by_an_interface_that_works_on_its_kind() {
        let interfaces = interfaces().unwrap();
        assert!(interfaces["life-cycle"].contains("assess"));
        for kind in KINDS {
            for right in Right::of_kind(kind) {
                let serving = serving(kind, *right);
                assert!(!serving.is_empty(), "{kind} {right}");
                for interface in serving {
                    assert!(interfaces.contains_key(*interface), "{interface}");
                    assert!(kinds(interface).contains(kind), "{interface} {kind}");
                }
            }
        }
    }
}
