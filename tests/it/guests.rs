//! The examples are built from source, and what is committed is what the source gives.
use crate::support::{
    guests::{self, Guest},
    run::Trial,
};
use backout::{package::Package, run::Phase};
use std::{collections::BTreeSet, fs, path::Path};
use wit_component::DecodedWasm;
use wit_parser::{Resolve, WorldId};

/// The component that `backout demo` embeds.
#[test]
fn the_committed_component_is_what_the_source_gives() {
    let Guest { folder, script, component } = guests::rust_shop();
    let file = folder.join(script);
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        fs::write(&file, component).unwrap();
    }
    let committed = fs::read(&file).unwrap_or_default();
    assert!(
        *component == committed,
        "{} ({} bytes) is not what its source gives ({} bytes). After a change of the source or of wit/, refresh it: \
         UPDATE_EXPECT=1 cargo test --test it guests::the_committed",
        file.display(),
        committed.len(),
        component.len(),
    );
}

#[test]
fn the_bytes_do_not_depend_on_where_the_checkout_lies() {
    let here = guests::rust_shop();
    let elsewhere = tempfile::tempdir().unwrap();
    let folder = elsewhere.path().join("some where/guest-examples/rust-shop");
    copy(&here.folder, &folder);
    copy(&guests::root().join("wit"), &elsewhere.path().join("some where/wit"));
    let there = guests::component(&guests::rust_module(&folder, "shop"));
    assert!(there == here.component, "a build in {} differs", folder.display());
}

#[test]
fn no_path_of_this_machine_is_inside() {
    let bytes = &guests::rust_shop().component;
    let home = std::env::var("HOME").unwrap();
    for path in [home.as_str(), env!("CARGO_MANIFEST_DIR"), "/.cargo/", "/registry/", "crates.io", "/toolchains/"] {
        let found = bytes.windows(path.len()).any(|window| window == path.as_bytes());
        assert!(!found, "the component contains {path}");
    }
    // The functions' names are, for the sake of those who read a trap.
    assert!(bytes.windows(7).any(|window| window == b"compare"));
}

/// Imports are the upper bound of what a script can do.
#[test]
fn a_script_imports_the_world_and_nothing_but_wasi_beside_it() {
    let mut resolve = Resolve::new();
    let (package, _) = resolve.push_dir(guests::root().join("wit")).unwrap();
    let world = names(&resolve, resolve.select_world(&[package], None).unwrap());
    let rust = imports(&guests::rust_shop().component);
    assert!(rust.iter().all(|name| world.contains(name)), "{rust:#?}");
    assert!(!rust.contains("backout:host/approval@0.1.0"), "an interface that is not used is not imported");
    let python = imports(&guests::python_shop().component);
    assert!(world.iter().all(|name| python.contains(name)), "{python:#?}");
    let other: Vec<_> = python.iter().filter(|name| !world.contains(*name) && !name.starts_with("wasi:")).collect();
    assert!(other.is_empty(), "{other:#?}");
}

/// One life cycle in two languages: the same steps, in the same order, with the same words.
#[tokio::test]
async fn both_languages_plan_the_same() {
    let settings = [("watch", "7"), ("clients", "3"), ("load", "2")];
    let (rust, python) = (
        Trial::begin(&guests::rust_shop().component, &settings),
        Trial::begin(&guests::python_shop().component, &settings),
    );
    for phase in [Phase::Prepare, Phase::Upgrade, Phase::Rollback, Phase::Verify] {
        let [rust, python] = [&rust, &python].map(|trial| trial.run.plan(phase, phase == Phase::Rollback));
        let (rust, python) = (rust.await.unwrap(), python.await.unwrap());
        assert!(rust.len() >= 3, "{rust:#?}");
        assert_eq!(rust, python, "{phase:?}");
    }
    let upgrade = rust.run.plan(Phase::Upgrade, false).await.unwrap();
    assert_eq!(upgrade.last().unwrap().estimate_seconds, 7, "the setting decides");
}

#[test]
fn the_examples_are_packages_that_ask_for_the_same() {
    let [rust, python] = [guests::rust_shop(), guests::python_shop()].map(|guest| {
        let folder = tempfile::tempdir().unwrap();
        guest.copy_to(folder.path());
        fs::create_dir(folder.path().join("dist")).unwrap();
        fs::write(folder.path().join("dist/shop-2.0.tar.zst"), "no matter what").unwrap();
        let package = Package::open(folder.path()).unwrap();
        // The runtime of Python imports the whole world.
        let unneeded: &[&str] = if guest.script == guests::python_shop().script { &["notify"] } else { &[] };
        assert_eq!(package.unneeded_imports(), unneeded);
        let needs = package.manifest.needs.iter();
        let needs: Vec<_> = needs.map(|n| format!("{} {} {:?} {}", n.kind, n.label, n.may, n.why)).collect();
        (package.title(), package.manifest.about, format!("{:?}", package.manifest.settings.keys()), needs)
    });
    assert_eq!(rust, python);
}

fn imports(component: &[u8]) -> BTreeSet<String> {
    let DecodedWasm::Component(resolve, world) = wit_component::decode(component).unwrap() else {
        panic!("not a component");
    };
    names(&resolve, world)
}

fn names(resolve: &Resolve, world: WorldId) -> BTreeSet<String> {
    resolve.worlds[world].imports.keys().map(|key| resolve.name_world_key(key)).collect()
}

fn copy(source: &Path, target: &Path) {
    fs::create_dir_all(target).unwrap();
    for entry in fs::read_dir(source).unwrap().map(Result::unwrap) {
        let (source, target) = (entry.path(), target.join(entry.file_name()));
        match entry.file_type().unwrap().is_dir() {
            true if entry.file_name() == "target" => {}
            true => copy(&source, &target),
            false => drop(fs::copy(source, target).unwrap()),
        }
    }
}
