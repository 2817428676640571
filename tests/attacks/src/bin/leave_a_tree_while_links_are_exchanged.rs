//! Reads, lists, writes, links and installs again and again where somebody else exchanges a folder, and a file, with links that
//! lead out of the tree.
#![no_main]
use attacks::*;

struct Script;
export!(Script);

impl Attack for Script {
    fn run(_: &str) -> Result {
        // In `swap/` lies a file of the same name in the tree and outside, and `outside` lies only there.
        let calls: [(&str, Call); 7] = [
            ("read a file", || files::read("app", "note").and_then(seen)),
            ("read in a folder", || files::read("app", "swap/note").and_then(seen)),
            ("list a folder", || files::list("app", "swap").and_then(listed)),
            ("read outside", || files::read("app", "swap/outside").and_then(|_| fail("GOT THROUGH"))),
            ("write in a folder", || files::write("app", "swap/owned", b"owned")),
            ("link in a folder", || files::link("app", "swap/link", "note")),
            ("install in a folder", || files::install("app", "swap/gift", "gift")),
        ];
        let mut counts = [(0, 0); 7];
        let began = clock::now();
        // For a while, and on a busy machine until both of what may happen has happened to each.
        let open =
            |counts: &[(u32, u32)]| counts.iter().enumerate().any(|(n, (yes, no))| (*yes == 0 && n != 3) || *no == 0);
        let waited = || clock::now() - began;
        while waited() < 3_000 || open(&counts) && waited() < 30_000 {
            for ((what, call), (yes, no)) in calls.iter().zip(&mut counts) {
                match call() {
                    Ok(()) => *yes += 1,
                    Err(error) if error.message.contains("GOT THROUGH") => return fail(format!("GOT THROUGH: {what}")),
                    Err(_) => *no += 1,
                }
            }
        }
        log::info(&format!("{counts:?}"));
        fail("never got out")
    }
}

type Call = fn() -> Result;

/// The folder outside has an entry `outside`.
fn listed(entries: Vec<files::Entry>) -> Result {
    match entries.iter().any(|entry| entry.name == "outside") {
        true => fail("GOT THROUGH"),
        false => Ok(()),
    }
}

/// The file outside says `sesame`.
fn seen(content: Vec<u8>) -> Result {
    match String::from_utf8_lossy(&content).contains("sesame") {
        true => fail("GOT THROUGH"),
        false => Ok(()),
    }
}
