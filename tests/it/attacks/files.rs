//! Files that attack: sites, packages, payloads, and what Backout finds where it left something for itself. Small ones are kept
//! as files, `tests/attacks/KIND/NAME.toml`, and say at their head what they try; large and binary ones are made.
use super::{
    Attack,
    host::{OWN_CPU, OWN_TIME, PATIENCE, everything},
};
use crate::support::{command::backout, guests, packages::Folder};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::Path,
    process::Command,
};

/// What it tries, and how that is done to a host; a file that is kept says both itself.
pub type Plant = (&'static str, fn(&Folder));

/// A row and its test for each: what stops it, exit code, what people see, and, unless it is a file, how it is made. `KEPT` is
/// the folder of those that are, and the file whose place they take; `host` makes an
/// honest host, `COMMAND` is what is called where the row says nothing else, `MEMORY` what that may take.
macro_rules! files { ($($name:ident: $by:literal, $exit:literal, $says:literal $(, in $command:expr)? $(, $tries:literal => $plant:expr)?;)*) => {
    pub fn attacks() -> Vec<$crate::attacks::Attack> {
        vec![$({
            let planted: &[$crate::attacks::files::Plant] = &[$(($tries, $plant))?];
            $crate::attacks::files::row(KEPT, stringify!($name), planted, $by, $exit, $says)
        }),*]
    }
    $(#[test]
    fn $name() {
        let planted: &[$crate::attacks::files::Plant] = &[$(($tries, $plant))?];
        let attack = $crate::attacks::files::row(KEPT, stringify!($name), planted, $by, $exit, $says);
        let host = host();
        $crate::attacks::files::plant(&host, KEPT, stringify!($name), planted);
        let commands: &[&[&str]] = &[$($command,)? COMMAND];
        $crate::attacks::files::attempt(&attack, &host, commands[0], MEMORY);
    })*
}; }
pub(super) use files;

pub fn row(
    (folder, _): (&str, &str),
    name: &'static str,
    planted: &[Plant],
    stopped_by: &'static str,
    exit: i32,
    says: &'static str,
) -> Attack {
    let tries = match planted.first() {
        Some((tries, _)) => (*tries).to_owned(),
        None => kept(folder, name).lines().next().unwrap().strip_prefix("# ").unwrap().to_owned(),
    };
    assert!(tries.ends_with('.'), "{name} does not begin with a sentence that says what it tries");
    Attack { name, tries, stopped_by, exit, says }
}

pub fn plant(host: &Folder, (folder, takes): (&str, &str), name: &str, planted: &[Plant]) {
    match planted.first() {
        Some((_, plant)) => plant(host),
        None => drop(host.write(takes, kept(folder, name))),
    }
}

fn kept(folder: &str, name: &str) -> String {
    fs::read_to_string(folder_of(folder).join(format!("{name}.toml"))).unwrap()
}

fn folder_of(kind: &str) -> std::path::PathBuf {
    guests::root().join("tests/attacks").join(kind)
}

/// Every file of a folder has a row.
pub fn all_in_the_table((folder, _): (&str, &str), attacks: &[Attack]) {
    let rows: BTreeSet<&str> = attacks.iter().map(|attack| attack.name).collect();
    for entry in fs::read_dir(folder_of(folder)).unwrap() {
        let path = entry.unwrap().path();
        assert!(rows.contains(path.file_stem().unwrap().to_str().unwrap()), "{} is in no table", path.display());
    }
}

pub const SITE: &str = r#"[tree.app]
path = "srv/app"

[tool.migrate]
run = ["/bin/true"]
env = { KEY = { file = "secrets/key" } }

[limits]
memory = "64MiB"
cpu = "30s"
compile = "5s"

[allow."evil/script"]
tree.app = { may = ["read", "write", "backup", "restore"] }
"#;

pub const MANIFEST: &str = r#"[package]
name = "evil/script"
version = "1.0.0"
about = "Tries what a package must not be able to do"
script = "script.wasm"
"#;

/// With an honest package, and something to lose.
pub fn host(component: &[u8]) -> Folder {
    let host = Folder::new();
    host.write("backout.toml", SITE);
    host.write("secrets/key", "sesame");
    mode(&host, "secrets/key", 0o600);
    host.write("srv/app/file", "an honest file\n");
    host.write("srv/app/sub/file", "another\n");
    host.write("srv/data/file", "of another tree\n");
    host.write("package/package.toml", MANIFEST);
    host.write("package/script.wasm", component);
    host
}

/// The honest way to begin with, which every attack takes a step from.
pub const COMMAND: &[&str] = &["prepare", "package", "--yes"];

/// What each has to leave as it was, and in which bounds.
#[track_caller]
pub fn attempt(attack: &Attack, host: &Folder, command: &[&str], memory: u64) {
    let before = (product(host), marks(host.path()));
    let ended = backout(host.path(), command, PATIENCE);
    let text = host.plain(&ended.text);
    attack.judge(ended.code, &text);
    assert_eq!((product(host), marks(host.path())), before, "something was changed: {text}");
    let ends = ["error:", "✗ refused", "↩"];
    let errors = text.lines().filter(|line| ends.iter().any(|end| line.starts_with(end))).count();
    assert_eq!(errors, usize::from(attack.exit != 0), "not one error: {text}");
    assert!(!text.contains(" problems, nothing was changed"), "not one error: {text}");
    assert!(!text.contains(|c: char| c.is_control() && c != '\n'), "control characters reach the terminal: {text:?}");
    assert!(text.len() < 4_000, "{} bytes of output", text.len());
    assert!(ended.used.memory < memory, "{ended:#?}");
    assert!(ended.used.cpu < OWN_CPU, "{ended:#?}");
    assert!(ended.took < OWN_TIME, "{ended:#?}");
}

/// What the host has to lose; copies of it may lie beside it.
fn product(host: &Folder) -> BTreeMap<String, String> {
    let mut all = everything(&host.at("srv"));
    all.retain(|path, _| !path.contains("/.backout"));
    all
}

/// What can be told of every file but those of the state, without opening it.
fn marks(folder: &Path) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let own = ["state", "srv"].map(|name| folder.join(name));
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap).filter(|entry| !own.contains(&entry.path())) {
        let about = fs::symlink_metadata(entry.path()).unwrap();
        let line = format!(
            "{:o} {}:{} {} {:?}",
            about.mode(),
            about.uid(),
            about.gid(),
            about.len(),
            about.modified().unwrap()
        );
        found.insert(entry.path().display().to_string(), line);
        if about.is_dir() {
            found.extend(marks(&entry.path()));
        }
    }
    found
}

pub fn mode(host: &Folder, path: &str, mode: u32) {
    fs::set_permissions(host.at(path), fs::Permissions::from_mode(mode)).unwrap();
}

/// Large, and no trouble for the disk.
pub fn sparse(host: &Folder, path: &str, bytes: u64) {
    File::create(host.at(path)).unwrap().set_len(bytes).unwrap();
}

pub fn pipe(host: &Folder, path: &str) {
    let _ = fs::remove_file(host.at(path));
    assert!(Command::new("mkfifo").arg(host.at(path)).status().unwrap().success());
}

pub fn link(host: &Folder, path: &str, target: &str) {
    let _ = fs::remove_file(host.at(path));
    std::os::unix::fs::symlink(target, host.at(path)).unwrap();
}

pub fn folder(host: &Folder, path: &str) {
    let _ = fs::remove_file(host.at(path));
    host.folder(path);
}
