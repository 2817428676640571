//! Paths that begin alike share what they begin with. Here each is played whole, too, and must be the same.
use crate::support::{
    faulty::{self, FAULTS, RIGHT},
    guests,
    packages::Folder,
    run,
};
use backout::{
    cli::demo::releases::Version,
    dry::{Bounds, Given, How, Stage, Told, Walk},
    journal::Header,
    package::Package,
    resource::run::Facts,
    run::life_cycle::Outcome,
    session::Limits,
};
use serde_json::{Value, json};
use std::path::Path;

fn stage(folder: &Path) -> Stage {
    let package = Package::open(folder).unwrap();
    let settings = package.manifest.settings.iter();
    let facts = Facts {
        package: package.manifest.name.clone(),
        version: package.manifest.version.to_string(),
        to_version: package.manifest.version.to_string(),
        settings: settings.map(|(name, s)| (name.clone(), s.default.as_ref().unwrap().to_string())).collect(),
        payloads: package.payloads.clone(),
        ..Facts::default()
    };
    let mut limits = Limits::default();
    limits.quota.calls = 300;
    Stage {
        script: run::load(&package.script),
        facts,
        header: Header::default(),
        limits,
        real: None,
        measured: None,
        given: Given::default(),
        later: Vec::new(),
        package,
    }
}

/// Without what the real clock says.
fn all(told: &Told) -> Value {
    let timeless = |recorded: &backout::journal::Recorded| {
        let mut entry = serde_json::to_value(&recorded.entry).unwrap();
        entry.as_object_mut().unwrap().remove("millis");
        json!([recorded.id, recorded.run, recorded.place, recorded.seq, entry])
    };
    json!({
        "entries": told.entries.iter().map(|recorded| timeless(recorded)).collect::<Vec<_>>(),
        "calls": told.calls,
        "changes": told.changes,
        "plans": told.plans,
        "outcome": told.outcome.ending(),
        "different": told.different.iter().map(|(id, by)| json!([id, by])).collect::<Vec<_>>(),
        "aside": told.aside.iter().map(|(id, lost)| json!([id, lost])).collect::<Vec<_>>(),
        "disturbed": told.disturbed,
        "fenced": told.fenced,
        "services": told.services.iter().map(|(id, status)| json!([id, status])).collect::<Vec<_>>(),
        "before": told.services_before.iter().map(|(id, status)| json!([id, status])).collect::<Vec<_>>(),
    })
}

/// How many paths there are, after each was compared.
async fn compared(name: &str, stage: &Stage, bounds: Bounds) -> usize {
    let (mut shared, mut whole) = (Walk::new(stage, bounds), Walk::new(stage, bounds).whole());
    let mut paths = 0;
    loop {
        match (shared.next().await, whole.next().await) {
            (None, None) => return paths,
            (Some((path, shared)), Some((same, whole))) => {
                assert_eq!(path, same, "{name}");
                assert_eq!(all(&shared), all(&whole), "{name}: {path:?}");
            }
            _ => panic!("{name}: one walk has more than {paths} paths, the other has not"),
        }
        paths += 1;
        if paths == bounds.paths {
            return paths;
        }
    }
}

#[tokio::test]
async fn a_path_that_goes_on_from_another_is_the_path_played_whole() {
    let bounds = |failures, paths| Bounds { failures, paths, ..Bounds::default() };
    for variant in [RIGHT, FAULTS].concat() {
        let folder = Folder::new();
        faulty::write(variant, Version::V2Good, folder.path());
        let paths = compared(variant, &stage(folder.path()), bounds(1, 5_000)).await;
        assert!(paths > 10, "{variant} has {paths} paths");
    }
    let folder = Folder::new();
    guests::rust_shop().copy_to(folder.path());
    folder.write("dist/shop-2.0.tar.zst", Version::V2Good.payload().unwrap());
    let stage = stage(folder.path());
    assert_eq!(compared("the example", &stage, bounds(2, 600)).await, 600);
    // The first of those that are longer stand behind: what is shared is shared again.
    assert_eq!(compared("the example", &stage, bounds(3, 300)).await, 300);
}

/// A run that its operator stops is taken back by its operator, whatever step that was in.
#[tokio::test]
async fn a_cancelled_run_goes_back() {
    let folder = Folder::new();
    faulty::write("", Version::V2Good, folder.path());
    let stage = stage(folder.path());
    let mut walk = Walk::new(&stage, Bounds { failures: 1, ..Bounds::default() });
    let (mut back, mut refused, mut steps) = (0, 0, std::collections::BTreeSet::new());
    while let Some((path, told)) = walk.next().await {
        let Some(How::Cancelled) = path.first().map(|deviation| deviation.how) else { continue };
        let cancelled: Vec<_> = told.calls.iter().filter(|call| call.cancelled).collect();
        assert_eq!(cancelled.len(), 1);
        steps.insert(cancelled[0].step.clone());
        match &told.outcome {
            Outcome::RolledBack => {
                assert!(told.different.is_empty(), "{:?}", told.different);
                assert_eq!(told.services, told.services_before);
                back += 1;
            }
            Outcome::Refused(why) => {
                assert!(!told.disturbed, "{why}");
                refused += 1;
            }
            other => assert_eq!(*other, Outcome::Upgraded, "{path:?}: whoever cancels the last call is too late"),
        }
    }
    let all = ["prepare/copy", "upgrade/close", "upgrade/install", "upgrade/open", "upgrade/watch", "verify/answers"];
    assert_eq!(steps.iter().map(String::as_str).collect::<Vec<_>>(), all);
    assert!(back > 5 && refused > 1, "{back} went back, {refused} were refused");
}
