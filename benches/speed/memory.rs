//! Processes that wait, and what of them is in memory.
use crate::{fixture, processes::BACKOUT, raw, sample::Pairs};
use std::{
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

const BASELINE: &str = "--wait-in-wasmtime";

pub fn is_baseline(args: &[String]) -> bool {
    args.first().is_some_and(|arg| arg == BASELINE)
}

/// This program again, as wasmtime alone: loads what was compiled, waits.
pub fn baseline(args: &[String]) {
    fixture::runtime().block_on(async {
        let engine = raw::engine();
        let component = raw::load(&engine, Path::new(&args[0]));
        let (mut store, instance) = raw::instance(&engine, &raw::answering(&engine), &component, ()).await;
        let assess: raw::Assess = raw::function(&mut store, &instance, "assess");
        assess.call_async(&mut store, ()).await.unwrap().0.unwrap();
    });
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
    let own = std::env::current_exe().unwrap();
    for program in [Path::new(BACKOUT), &own] {
        std::fs::read(program).unwrap();
    }
    let wasmtime = || {
        let mut command = Command::new(&own);
        command.arg(BASELINE).arg(at("waits.cwasm"));
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
