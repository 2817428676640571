//! A run of very many operations is told again in as much memory as a run of a tenth of them.
use crate::support::{bench::BACKOUT, guests, packages::Folder};
use std::{
    fs,
    process::{Command, Stdio},
};

/// A host whose run 1 has made so many operations in one step.
fn recorded(operations: u32) -> Folder {
    let folder = Folder::new();
    let site = format!(
        r#"
[limits]
host-calls = 200000
cpu = "10m"

[allow."test/migrating"]
require = {{ settings = {{ step = "ask-{operations}" }} }}
"#
    );
    folder.write("backout.toml", site);
    guests::migrating().copy_to(&folder.at("package"));
    let said = folder.backout(&["upgrade", "--yes", "package"]);
    assert_eq!(said.code, 0, "{}", said.whole());
    folder
}

/// Kilobytes that a replay of run 1 has had at most.
fn peak(folder: &Folder, operations: u32) -> u64 {
    let mut command = Command::new(BACKOUT);
    let mut replay =
        command.args(["replay", "1", "--json"]).current_dir(folder.path()).stdout(Stdio::piped()).spawn().unwrap();
    let status = format!("/proc/{}/status", replay.id());
    let mut peak = 0;
    while replay.try_wait().unwrap().is_none() {
        let status = fs::read_to_string(&status).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        peak = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse().ok()).unwrap_or(peak);
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    let output = replay.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let told: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(told[0]["operations"].as_u64() >= Some(operations.into()), "{told}");
    peak
}

#[test]
fn a_long_replay_takes_no_more_memory_than_a_short_one() {
    let [short, long] = [10_000, 100_000].map(|operations| peak(&recorded(operations), operations));
    println!("10,000 operations: {short} kB, 100,000: {long} kB");
    // All of it would be 30 MB in the journal, and more in memory.
    assert!(short > 10_000 && long < short + 4_000, "{short} kB, {long} kB");
}
