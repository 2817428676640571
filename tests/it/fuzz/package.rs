//! Packages: manifests and components.
use super::{damage::*, in_little_memory, remember, run, told_well};
use crate::{
    grants, package,
    support::{
        guests,
        packages::{Folder, whole},
    },
};
use backout::package::Package;
use std::fs;

#[test]
fn packages() {
    in_little_memory("package");
}

fn open(folder: &Folder, file: &str, bytes: &[u8]) {
    remember("package", bytes);
    folder.write(file, bytes);
    match Package::open(folder.path()) {
        Ok(package) => assert!(!package.title().is_empty() && !package.unneeded_imports().contains(&"")),
        Err(mistakes) => told_well(&mistakes),
    }
}

const WORDS: &[&str] = &[
    "duration",
    "integer",
    "number",
    "string",
    "boolean",
    "10m",
    "read",
    "backup",
    "why",
    "may",
    "acme/shop",
    "2.0.0",
    "^1.2",
    "package.toml",
];

#[test]
#[ignore = "run by `packages` in a process of its own"]
fn a_damaged_manifest_is_read_or_refused() {
    let example = fs::read_to_string(guests::root().join("guest-examples/rust-shop/package.toml")).unwrap();
    let wholes = vec![package::MANIFEST.to_owned(), grants::MANIFEST.to_owned(), example];
    let folder = package::shop();
    run(700, damaged_text(wholes, WORDS), |bytes| open(&folder, "package.toml", &bytes.0));
}

/// The script of the example, and a small one, so that damage hits what matters.
fn scripts() -> [Vec<u8>; 2] {
    [whole(), fs::read(guests::root().join("guest-examples/rust-shop/shop.wasm")).unwrap()]
}

#[test]
#[ignore = "run by `packages` in a process of its own"]
fn a_damaged_component_is_read_or_refused() {
    let folder = package::shop();
    for script in scripts() {
        // The large one lacks what this manifest asks for.
        open(&folder, "shop.wasm", &script);
        run(100, damaged_bytes(vec![script]), |bytes| open(&folder, "shop.wasm", &bytes.0));
    }
}

#[test]
#[ignore = "run by `packages` in a process of its own"]
fn a_component_with_other_sections_is_read_or_refused() {
    let folder = package::shop();
    for script in scripts() {
        let parts = sections(&script);
        assert!(parts.len() > 5 && parts.concat() == script);
        run(100, damaged_list(parts), |bytes| open(&folder, "shop.wasm", &bytes.0));
    }
}

/// The head, and each section of the outermost component.
fn sections(component: &[u8]) -> Vec<Vec<u8>> {
    let (head, mut rest) = component.split_at(8);
    let mut parts = vec![head.to_vec()];
    while !rest.is_empty() {
        // A byte for the kind, and the length in groups of seven bits.
        let (mut length, mut at) = (0, 1);
        loop {
            length |= usize::from(rest[at] & 0x7f) << (7 * (at - 1));
            at += 1;
            if rest[at - 1] & 0x80 == 0 {
                break;
            }
        }
        let (section, after) = rest.split_at(at + length);
        parts.push(section.to_vec());
        rest = after;
    }
    parts
}
