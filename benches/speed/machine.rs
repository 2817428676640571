//! What the numbers were measured on, and with.
use std::{fs, path::Path, process::Command};

fn first(path: &str, key: &str) -> String {
    let text = fs::read_to_string(path).unwrap_or_default();
    let found = text.lines().find_map(|line| line.strip_prefix(key));
    found.map_or("unknown".into(), |rest| rest.trim_start_matches([':', ' ', '\t']).trim().to_owned())
}

fn said(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output();
    output.map_or("unknown".into(), |out| String::from_utf8_lossy(&out.stdout).trim().to_owned())
}

/// The version in the lock file: what was built, not what was asked for.
fn locked(name: &str) -> String {
    let lock = include_str!("../../Cargo.lock");
    let version = lock.split("[[package]]").filter(|package| package.contains(&format!("name = \"{name}\"\n")));
    let mut versions = version.filter_map(|package| package.split("version = \"").nth(1)?.split('"').next());
    versions.next().unwrap_or("unknown").to_owned()
}

/// Kind of the file system, and of the device below it, that the databases lie on.
fn file_system() -> String {
    let real = fs::canonicalize(env!("CARGO_TARGET_TMPDIR")).unwrap_or_default();
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let fields = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    let mut holding: Vec<Vec<&str>> = fields.filter(|f| f.len() > 3 && real.starts_with(Path::new(f[1]))).collect();
    holding.sort_by_key(|f| f[1].len());
    holding.last().map_or("unknown".into(), |f| format!("{} on {} ({})", f[2], f[0], f[3]))
}

pub fn today() -> String {
    jiff::Zoned::now().date().to_string()
}

pub fn facts() -> Vec<(&'static str, String)> {
    let kib: f64 = first("/proc/meminfo", "MemTotal").trim_end_matches(" kB").parse().unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let changed = said(
        "git",
        &["-C", env!("CARGO_MANIFEST_DIR"), "status", "--porcelain", "--untracked-files=no", "src", "Cargo.lock"],
    );
    let commit = said("git", &["-C", env!("CARGO_MANIFEST_DIR"), "rev-parse", "--short=12", "HEAD"]);
    vec![
        ("processor", format!("{}, {cores} of it", first("/proc/cpuinfo", "model name"))),
        ("memory", format!("{:.1} GB", kib * 1024.0 / 1e9)),
        ("file system", file_system()),
        ("kernel", format!("Linux {}", fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim())),
        (
            "Backout",
            format!(
                "{} at {commit}{}, the one build profile of the project (`dev`, see `Cargo.toml`)",
                env!("CARGO_PKG_VERSION"),
                if changed.is_empty() { "" } else { " with changes" }
            ),
        ),
        ("wasmtime", locked("wasmtime")),
        ("SQLite", format!("{} (rusqlite {})", rusqlite::version(), locked("rusqlite"))),
        ("PostgreSQL", said(crate::postgres::newest().join("postgres").to_str().unwrap(), &["--version"])),
        ("MariaDB", said("mariadb", &["--version"])),
        ("rustc", said("rustc", &["--version"])),
    ]
}
