//! Site files, and what `allow` adds to them.
use super::{damage::damaged_text, in_little_memory, remember, run, told_well};
use crate::{
    grants,
    site::{self, host},
    support::packages::{Folder, whole},
};
use backout::{package::Package, site::Site};

#[test]
fn sites() {
    in_little_memory("site");
}

/// As they stand in the tests and in the reference.
fn wholes() -> Vec<String> {
    let reference = include_str!("../../../docs/site.md");
    let example = reference.split("```toml\n").nth(1).unwrap().split("```").next().unwrap();
    vec![site::SITE.to_owned(), example.to_owned(), format!("{}{}", grants::SITE, grants::GRANTS)]
}

const WORDS: &[&str] = &[
    "sqlite",
    "process",
    "host",
    "page",
    "state",
    "10m",
    "1GiB",
    "json:a / json:b",
    "*",
    "2.*",
    ">=",
    "root",
    "allow-root",
];

fn package() -> (Folder, Package) {
    let folder = Folder::new();
    folder.write("package.toml", grants::MANIFEST);
    folder.write("shop.wasm", whole());
    folder.write("shop-2.0.tar.zst", "payload");
    let package = Package::open(folder.path()).unwrap_or_else(|e| panic!("{e}"));
    (folder, package)
}

/// What `check` and `allow` do with a site file.
fn read(host: &Folder, package: &Package, bytes: Vec<u8>) {
    remember("site", &bytes);
    let path = host.at("backout.toml");
    let site = match Site::parse(&path, bytes) {
        Ok(site) => site,
        Err(mistakes) => return told_well(&mistakes),
    };
    let told = |mistakes| {
        if mistakes != Default::default() {
            told_well(&mistakes)
        }
    };
    told(site.survey());
    let findings = site.check(package);
    told(findings.mistakes);
    let _ = (
        site.settings(package).map_err(told),
        site.installed_version().map_err(told),
        site.upgradable(package).map_err(told),
    );
    if let Ok(additions) = site.additions(package, &findings.missing, &[]) {
        // What it says is checked where it is made; that it is refused is no mistake of the reader.
        if let Ok(text) = site.with(package, &additions) {
            let again = Site::parse(&path, text.into_bytes()).unwrap_or_else(|e| panic!("{e}"));
            assert!(again.check(package).missing.len() + additions.len() <= findings.missing.len());
        }
    }
}

#[test]
#[ignore = "run by `sites` in a process of its own"]
fn a_damaged_site_is_read_or_refused() {
    let (host, (_folder, package)) = (host(), package());
    for whole in wholes() {
        read(&host, &package, whole.into_bytes());
    }
    run(2000, damaged_text(wholes(), WORDS), |bytes| read(&host, &package, bytes.0));
}
