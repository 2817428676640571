//! Commands as people run them: processes.
use crate::sample::Pairs;
use backout::cli::demo::{
    folder::{Folder, PACKAGE, Wanted},
    releases::Version,
};
use std::{
    path::Path,
    process::{Command, Stdio},
    time::Instant,
};

pub const BACKOUT: &str = env!("CARGO_BIN_EXE_backout");

/// As the demo makes it. It takes the program that makes it for the product's runtime; here that is not this one.
fn host(root: &Path) -> Folder {
    let folder = Folder::make(root, &Wanted { upgrade: Version::V2Good, granted: true }).unwrap();
    let site = folder.path("backout.toml");
    let own = std::env::current_exe().unwrap();
    let text = std::fs::read_to_string(&site).unwrap();
    std::fs::write(&site, text.replace(own.to_str().unwrap(), BACKOUT)).unwrap();
    folder
}

/// `backout inspect` or `backout check`.
pub fn command(name: &str) -> Pairs {
    let folder = crate::fixture::folder();
    let host = host(&folder.path().join("host"));
    let mut command = Command::new(BACKOUT);
    command.arg("--site").arg(host.path("backout.toml")).arg(name).arg(host.path(PACKAGE));
    timed(command, 40)
}

/// A dry run without a site, of the demo's package.
pub fn dry(arguments: &[&str]) -> Pairs {
    let folder = crate::fixture::folder();
    let host = host(&folder.path().join("host"));
    let cache = folder.path().join("cache");
    let command = || {
        let mut command = Command::new(BACKOUT);
        command.args(arguments).arg("--offline").arg("--cache").arg(&cache).arg(host.path(PACKAGE));
        command
    };
    assert!(command().stdout(Stdio::null()).status().unwrap().success());
    timed(command(), if arguments.len() > 1 { 5 } else { 40 })
}

fn timed(mut command: Command, samples: usize) -> Pairs {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    Pairs::alone(samples, || {
        let began = Instant::now();
        let status = command.status().unwrap();
        let spent = began.elapsed().as_secs_f64();
        assert!(status.success(), "{command:?}: {status}");
        spent
    })
}
