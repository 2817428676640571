//! What this Backout offers to scripts. A test holds it against the WIT files: no run needs to read those again.
use crate::resource::Right;

/// The interfaces of `backout:host`, and the functions of each.
pub const INTERFACES: &[(&str, &[&str])] = &[
    ("approval", &["ask"]),
    ("backup", &["loss", "refresh", "restore", "take"]),
    ("clock", &["now", "sleep"]),
    ("context", &["completed", "current", "setting"]),
    ("database", &["activity", "check-unchanged", "execute", "fence", "query", "unfence"]),
    ("files", &["install", "link", "list", "read", "write"]),
    ("life-cycle", &["assess", "plan", "run"]),
    ("log", &["debug", "info", "warn"]),
    ("logs", &["check", "mark", "search"]),
    ("metrics", &["alerts", "baseline", "check", "compare", "host", "promql", "query", "watch"]),
    ("notify", &["send"]),
    ("payload", &["read"]),
    ("probe", &["check", "check-load", "get", "tcp", "until"]),
    ("report", &["check", "note"]),
    ("service", &["get-status", "reload", "restart", "start", "stop"]),
    ("store", &["get", "set"]),
    ("tool", &["run"]),
    ("types", &[]),
];

/// The functions of an interface of `backout:host`.
pub fn functions(interface: &str) -> Option<&'static [&'static str]> {
    INTERFACES.iter().find(|(name, _)| *name == interface).map(|(_, functions)| *functions)
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
        ("channel", _) => &["notify"],
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
        "notify" => &["channel"],
        _ => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::KINDS;

    #[test]
    fn the_interfaces_are_those_of_the_wit_files() {
        let mut resolve = wit_parser::Resolve::default();
        resolve.push_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/wit")).unwrap();
        let mut there: Vec<(&str, Vec<&str>)> = resolve
            .interfaces
            .iter()
            .map(|(_, i)| (i.name.as_deref().unwrap(), i.functions.keys().map(String::as_str).collect()))
            .collect();
        there.iter_mut().for_each(|(_, functions)| functions.sort_unstable());
        there.sort_unstable();
        let here: Vec<_> = INTERFACES.iter().map(|(name, functions)| (*name, functions.to_vec())).collect();
        assert_eq!(here, there);
    }

    #[test]
    fn every_right_is_served_by_an_interface_that_works_on_its_kind() {
        for kind in KINDS {
            for right in Right::of_kind(kind) {
                let serving = serving(kind, *right);
                assert!(!serving.is_empty(), "{kind} {right}");
                for interface in serving {
                    assert!(functions(interface).is_some(), "{interface}");
                    assert!(kinds(interface).contains(kind), "{interface} {kind}");
                }
            }
        }
    }
}
