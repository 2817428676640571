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

/// A dry run without a site, after the script was compiled.
fn dry(package: &Path, cache: &Path, arguments: &[&str], samples: usize) -> Pairs {
    let command = || {
        let mut command = Command::new(BACKOUT);
        command.args(arguments).arg("--cache").arg(cache).arg(package);
        command
    };
    let first = command().stdin(Stdio::null()).output().unwrap();
    assert!(first.status.success(), "{first:?}");
    timed(command(), samples)
}

/// Fifty steps of ten operations each; the last one takes it back.
pub fn plan() -> Pairs {
    let folder = crate::fixture::folder();
    let package = folder.path().join("package");
    crate::guests::scripted().copy_to(&package);
    let step = |n: usize| format!("step-{n} 1 ^ {}", ["tool:again", "status:shop"].repeat(5).join(" "));
    // A setting has 4 KiB at the most.
    let phases = [("prepare ", 1..17), ("upgrade ", 17..34), ("verify  ", 34..50), ("rollback", 50..51)];
    let manifest = package.join("package.toml");
    let mut text = std::fs::read_to_string(&manifest).unwrap();
    for (phase, numbers) in phases {
        let of = format!("{phase} = {{ type = \"string\", default = \"");
        assert!(text.contains(&of), "{text}");
        text = text.replace(&of, &format!("{of}{}", numbers.map(step).collect::<Vec<_>>().join("; ")));
    }
    std::fs::write(&manifest, text).unwrap();
    dry(&package, &folder.path().join("cache"), &["plan", "--offline"], 40)
}

/// The demo's package.
pub fn explore() -> Pairs {
    let folder = crate::fixture::folder();
    let host = host(&folder.path().join("host"));
    dry(&host.path(PACKAGE), &folder.path().join("cache"), &["explore", "--offline", "--paths", "1000"], 5)
}

/// The demo's package, with one scenario a hundred times.
pub fn scenarios() -> Pairs {
    let folder = crate::fixture::folder();
    let package = host(&folder.path().join("host")).path(PACKAGE);
    let tests = package.join("tests");
    std::fs::create_dir_all(&tests).unwrap();
    for n in 0..100 {
        let scenario = include_str!("../../guest-examples/rust-shop/tests/bad-upgrade.toml");
        std::fs::write(tests.join(format!("{n}.toml")), scenario).unwrap();
    }
    dry(&package, &folder.path().join("cache"), &["test", "--paths", "1"], 9)
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
