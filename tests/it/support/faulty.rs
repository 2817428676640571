//! Packages of an upgrade that is right or has one fault; `tests/guests/faulty` says which.
use super::{guests, shop::edit};
use backout::cli::demo::releases::Version;
use std::{fs, path::Path};

/// Without a fault, however odd.
pub const RIGHT: &[&str] = &["", "polls", "retries"];

pub const FAULTS: &[&str] = &[
    "asks-while-planning",
    "checks-late",
    "forgets",
    "forgets-at-times",
    "greedy",
    "hides",
    "ignores",
    "left-fenced",
    "left-stopped",
    "loops",
    "no-rollback",
    "restores-first",
    "stays-down",
    "swallows",
    "time",
    "unreachable",
];

/// Writes the package of this variant, whatever stood there. It has the name of the demo's package: a site of the demo grants it
/// all that it needs.
pub fn write(variant: &str, upgrade: Version, folder: &Path) {
    guests::faulty().copy_to(folder);
    let manifest = folder.join("package.toml");
    match variant {
        "greedy" => edit(&manifest, r#""restore", "fence"]"#, r#""restore", "fence", "write"]"#),
        variant => edit(&manifest, r#"default = """#, &format!("default = {variant:?}")),
    }
    fs::create_dir_all(folder.join("dist")).unwrap();
    fs::write(folder.join("dist/shop-2.0.tar.zst"), upgrade.payload().unwrap()).unwrap();
}
