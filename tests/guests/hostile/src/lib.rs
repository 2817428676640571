//! Tries what a script must not be able to do. The setting `attack` says what, `phase` says when.
wit_bindgen::generate!({ path: "../../../wit", world: "script" });

use backout::host::{types::*, *};
use exports::backout::host::life_cycle::{Guest, Risk, Step};
use std::hint::black_box;

type Result<T = ()> = std::result::Result<T, Error>;

struct Hostile;
export!(Hostile);

impl Guest for Hostile {
    fn assess() -> Result<Vec<Risk>> {
        Ok(vec![])
    }

    fn plan(phase: Phase) -> Result<Vec<Step>> {
        let attack = context::setting("attack");
        if word(phase) != context::setting("phase") {
            return Ok(vec![step("nothing", &[])]);
        }
        Ok(match attack.as_str() {
            "cycle" => vec![step("a", &["c"]), step("b", &["a"]), step("c", &["b"])],
            "twice" => vec![step("a", &[]), step("a", &[])],
            "unknown-after" => vec![step("a", &["nobody"])],
            "names" => vec![step("../../etc", &[]), step("\u{1b}[2J", &[]), step(&"n".repeat(1_000_000), &[])],
            "many-steps" => (0..1_000).map(|n| step(&format!("s{n}"), &[])).collect(),
            "far-too-many-steps" => (0..100_000).map(|n| step(&format!("s{n}"), &[])).collect(),
            "title" => {
                vec![Step { title: "\u{1b}]0;owned\u{7}\u{1b}[2J\rdone\n✓ all is well".into(), ..step("title", &[]) }]
            }
            "loop-in-plan" => endless(),
            attack => vec![step(attack, &[])],
        })
    }

    fn run(_: Phase, step: String) -> Result {
        std::panic::set_hook(Box::new(|panic| log::warn(&panic.to_string())));
        match step.as_str() {
            "nothing" | "none" | "title" => Ok(()),
            "loop" => endless(),
            "allocate" => allocate(10 << 30),
            "recurse" => fail(format!("came back from {}", dive(0))),
            "panic" => panic!("no way forward at {}", 42),
            "log" => loop {
                log::info(&"all work and no play ".repeat(50));
            },
            "escape" => {
                log::warn("\u{1b}]0;owned\u{7}\u{1b}[2J\rdone\n✓ all is well");
                fail("\u{1b}[2J\r✓ all is well")
            }
            "store" => (0_u64..).try_for_each(|n| {
                store::set(&n.to_string(), &"x".repeat(10_000));
                Ok(())
            }),
            "calls" => loop {
                clock::now();
            },
            "sleep" => {
                clock::sleep(u32::MAX);
                Ok(())
            }
            "long-string" => {
                log::info(&"x".repeat(400 << 20));
                Ok(())
            }
            "long-file" => files::write("app", "long", &vec![1; 300 << 20]),
            "lying-length" => lie(),
            "long-error" => fail("x".repeat(3 << 20)),
            "ungranted" => ungranted(),
            "paths" => paths(),
            "no-paths" => no_paths(),
            other => fail(format!("no step `{other}`")),
        }
    }
}

fn word(phase: Phase) -> &'static str {
    match phase {
        Phase::Prepare => "prepare",
        Phase::Upgrade => "upgrade",
        Phase::Rollback => "rollback",
        Phase::Verify => "verify",
    }
}

fn step(name: &str, after: &[&str]) -> Step {
    let after = Some(after.iter().map(|name| name.to_string()).collect());
    Step { name: name.into(), title: "an honest step".into(), estimate: 1, roles: vec![], after, attempts: 1 }
}

fn fail<T>(message: impl Into<String>) -> Result<T> {
    Err(Error { kind: Kind::Failed, message: message.into() })
}

fn endless<T>() -> T {
    loop {
        black_box(());
    }
}

fn allocate(bytes: u64) -> Result {
    const PIECE: usize = 16 << 20;
    let mut hoard = Vec::new();
    while (hoard.len() * PIECE) as u64 <= bytes {
        hoard.push(black_box(vec![1_u8; PIECE]));
    }
    fail("got all of it")
}

#[allow(unconditional_recursion)]
fn dive(depth: u32) -> u32 {
    // The compiler may not make a loop of it.
    black_box(dive(black_box(depth + 1))) ^ depth
}

/// A text that is said to be a gigabyte long, and is not there.
fn lie() -> Result {
    #[link(wasm_import_module = "backout:host/log@0.1.0")]
    unsafe extern "C" {
        #[link_name = "info"]
        fn info(start: u32, length: u32);
    }
    // SAFETY: none; the host has to look after itself.
    unsafe { info(16, 1 << 30) };
    fail("the host believed it")
}

/// Every call has to fail; what the host says about each goes into the step's error.
fn told(calls: Vec<(&str, Result)>) -> Result {
    let mut lines = Vec::new();
    for (what, result) in calls {
        match result {
            Ok(()) => return fail(format!("GOT THROUGH: {what}")),
            Err(error) => lines.push(format!("{what}: {:?}: {}", error.kind, error.message)),
        }
    }
    fail(lines.join(" ¦ "))
}

fn ungranted() -> Result {
    told(vec![
        ("a resource of the site", service::stop("shop")),
        ("no resource at all", service::stop("nobody")),
        ("a right that was not asked for", backup::take("data").map(drop)),
        ("a tool", tool::run("migrate").map(drop)),
        ("a label that is a path", files::read("../app", "file").map(drop)),
        ("another package's label", database::query("orders", "select 1").map(drop)),
    ])
}

fn paths() -> Result {
    let read = |path| files::read("app", path).map(drop);
    let write = |path| files::write("app", path, b"owned");
    told(vec![
        ("read ../secret", read("../secret")),
        ("read sub/../../secret", read("sub/../../secret")),
        ("read /etc/passwd", read("/etc/passwd")),
        ("read a link that leads out", read("out")),
        ("read through a folder link that leads out", read("outside/secret")),
        ("read an absolute link", read("absolute")),
        ("list ..", files::list("app", "..").map(drop)),
        ("list /", files::list("app", "/").map(drop)),
        ("list a link that leads out", files::list("app", "outside").map(drop)),
        ("write ../owned", write("../owned")),
        ("write /tmp/owned-by-a-script", write("/tmp/owned-by-a-script")),
        ("write through a folder link that leads out", write("outside/owned")),
        ("link to ..", files::link("app", "way-out", "..")),
        ("link to ../secret", files::link("app", "way-out", "../secret")),
        ("link to /etc", files::link("app", "way-out", "/etc")),
        ("link from outside", files::link("app", "../way-in", "sub")),
        ("install outside", files::install("app", "../owned", "gift")),
    ])
}

/// Read only: a write that fails for another reason than `denied` counts as begun.
fn no_paths() -> Result {
    let read = |path| files::read("app", path).map(drop);
    told(vec![
        ("a nul", read("fi\0le")),
        ("nothing", read("")),
        ("the tree itself", read(".")),
        ("a dot", read("./file")),
        ("two slashes", read("sub//file")),
        ("a long name", read(&"n".repeat(300))),
        ("a long path", read(&"n/".repeat(100_000))),
    ])
}
