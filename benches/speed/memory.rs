//! Processes that wait, and what of them is in memory.
use crate::{fixture, processes::BACKOUT, raw, sample::Pairs};
use std::{
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

/// The program of `waits.rs`, which Cargo has built beside this one: the newest, for older ones may lie there too.
fn alone() -> PathBuf {
    let own = std::env::current_exe().unwrap();
    let is_it = |path: &PathBuf| {
        let name = path.file_name().unwrap().to_str().unwrap_or_default();
        name.starts_with("waits-") && !name.contains('.')
    };
    let beside = std::fs::read_dir(own.parent().unwrap()).unwrap().map(|entry| entry.unwrap().path()).filter(is_it);
    let newest = beside.max_by_key(|path| path.metadata().unwrap().modified().unwrap());
    newest.expect("`cargo bench --bench speed` leaves it out: `cargo bench -- memory` builds both")
}

const SITE: &str = "[allow.\"bench/waits\"]\n";
const MANIFEST: &str = "[package]
name = \"bench/waits\"
version = \"1.0.0\"
about = \"Waits\"
backout = \"0.1\"
script = \"waits.wasm\"
";

pub fn memory() -> Pairs {
    let folder = fixture::folder();
    let at = |name: &str| folder.path().join(name);
    let script = fixture::caller();
    std::fs::create_dir(at("package")).unwrap();
    std::fs::write(at("package/package.toml"), MANIFEST).unwrap();
    std::fs::write(at("package/waits.wasm"), &script).unwrap();
    std::fs::write(at("backout.toml"), SITE).unwrap();
    raw::compile(&raw::engine(), &script, &at("waits.cwasm"));
    // The kernel maps more of a program around what is used when all of it is in memory already.
    let alone = alone();
    for program in [Path::new(BACKOUT), &alone] {
        std::fs::read(program).unwrap();
    }
    let wasmtime = || {
        let mut command = Command::new(&alone);
        command.arg(at("waits.cwasm"));
        Waiting::start(command).resident()
    };
    // The first one compiles it, as the pair that warms up.
    let ours = || {
        let mut command = Command::new(BACKOUT);
        command.arg("--site").arg(at("backout.toml")).arg("assess").arg(at("package"));
        Waiting::start(command).resident()
    };
    Pairs::measure(7, wasmtime, ours)
}

struct Waiting(Child);

impl Waiting {
    fn start(mut command: Command) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Self(command.spawn().unwrap())
    }

    /// Bytes, once they have not changed for a second.
    fn resident(&mut self) -> f64 {
        let path = format!("/proc/{}/status", self.0.id());
        let (mut last, mut same) = (0.0, 0);
        while same < 10 {
            std::thread::sleep(Duration::from_millis(100));
            assert!(self.0.try_wait().unwrap().is_none(), "it has ended instead of waiting");
            let status = std::fs::read_to_string(&path).unwrap();
            let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB"));
            let resident = resident.unwrap().parse::<f64>().unwrap() * 1024.0;
            same = if resident == last { same + 1 } else { 0 };
            last = resident;
        }
        last
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
