//! What Backout left for itself, after somebody has been at it.
use super::{
    Section, archives,
    files::{self, COMMAND, files, folder, mode, pipe},
    host::{OWN_MEMORY, PATIENCE},
};
use crate::support::{command::backout, packages::Folder};
use std::{fs, path::PathBuf};

const KEPT: (&str, &str) = ("", "");
const MEMORY: u64 = OWN_MEMORY;
const ROLLBACK: &[&str] = &["rollback", "--yes"];
const ASSESS: &[&str] = &["assess", "package"];

/// With a restore point.
fn host() -> Folder {
    let host = archives::host();
    let ended = backout(host.path(), COMMAND, PATIENCE);
    assert_eq!(ended.code, Some(0), "{ended:#?}");
    host
}

fn sql(host: &Folder, text: &str) {
    let journal = rusqlite::Connection::open(host.at("state/journal.db")).unwrap();
    journal.execute_batch(text).unwrap();
    journal.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
}

/// The one file in a folder of the state.
fn only(host: &Folder, path: &str) -> PathBuf {
    let mut files = fs::read_dir(host.at(path)).unwrap().map(|entry| entry.unwrap().path());
    let (only, None) = (files.next().unwrap(), files.next()) else { panic!("{path} has more than one") };
    only
}

fn compiled(host: &Folder) -> PathBuf {
    let mut files = fs::read_dir(host.at("state/cache")).unwrap().map(|entry| entry.unwrap().path());
    files.find(|path| path.extension().is_some_and(|end| end == "cwasm")).unwrap()
}

files! {
    journal_that_is_a_text: "mark of the journal", 1, "error: state/journal.db is not a Backout journal", in ROLLBACK,
        "Is a text in the place of the journal." => |host| drop(host.write("state/journal.db", "remember the milk\n".repeat(400)));
    journal_that_is_a_folder: "mark of the journal", 1, "error: state/journal.db is not a Backout journal",
        "Is a folder in the place of the journal." => |host| folder(host, "state/journal.db");
    journal_that_is_a_pipe: "mark of the journal", 1, "error: state/journal.db is not a Backout journal",
        "Is a pipe in the place of the journal." => |host| pipe(host, "state/journal.db");
    journal_of_a_newer_backout: "version of the journal", 1,
        "error: journal state/journal.db was written by a newer Backout (format 2, this one reads 1): install that version", in ROLLBACK,
        "Is a journal of a Backout to come." => |host| sql(host, "PRAGMA user_version = 2");
    journal_with_another_entry: "the journal's hash chain", 3,
        "error: the journal is not what was written, so nobody knows what was done: entry 2 (run 1, assess): its hash does not fit: …", in ROLLBACK,
        "Has an entry that nobody wrote." => |host| sql(host, "UPDATE entry SET body = '{\"entry\":\"sung\"}' WHERE id = 2");
    journal_cut_short: "SQLite's own checks", 3,
        "error: the journal is not what was written, so nobody knows what was done: journal state/journal.db: database disk image is malformed", in ROLLBACK,
        "Has lost its second half." => |host| {
            let journal = fs::read(host.at("state/journal.db")).unwrap();
            host.write("state/journal.db", &journal[..journal.len() / 2 / 4096 * 4096]);
        };
    package_with_another_script: "digest of the restore point", 3, "error: the package that run 1 kept is not what it was", in ROLLBACK,
        "Exchanges the script that was kept for the way back." => |host| {
            let kept = only(host, "state/packages");
            fs::write(kept.join("script.wasm"), crate::support::guests::attack("panic")).unwrap();
            let need = fs::read_to_string(kept.join("package.toml")).unwrap().split("[needs]").next().unwrap().to_owned();
            fs::write(kept.join("package.toml"), need).unwrap();
        };
    compiled_script_cut_short: "what cannot be loaded is compiled again", 0, "✓ the script sees no risks.", in ASSESS,
        "Has lost the second half of a compiled script." => |host| {
            let path = compiled(host);
            let compiled = fs::read(&path).unwrap();
            fs::write(&path, &compiled[..compiled.len() / 2]).unwrap();
        };
    compiled_script_altered: "what is not as it was written is compiled again", 0, "✓ the script sees no risks.", in ASSESS,
        "Has another machine code in the middle of a compiled script." => |host| {
            let path = compiled(host);
            let mut code = fs::read(&path).unwrap();
            let middle = code.len() / 4..code.len() * 3 / 4;
            code[middle].iter_mut().for_each(|byte| *byte ^= 0x5a);
            fs::write(&path, code).unwrap();
        };
    compiled_script_of_another: "what cannot be loaded is compiled again", 0, "✓ the script sees no risks.", in ASSESS,
        "Is a program in the place of a compiled script." => |host| {
            fs::copy("/bin/true", compiled(host)).unwrap();
        };
    compiled_script_that_everybody_may_write: "what others can write is compiled again", 0, "✓ the script sees no risks.", in ASSESS,
        "Lets everybody exchange a compiled script, which would run without a sandbox." => |host| {
            let path = compiled(host);
            mode(host, path.strip_prefix(host.path()).unwrap().to_str().unwrap(), 0o666);
        };
    cache_that_others_may_write: "permissions of the cache", 1,
        "error: the cache of compiled scripts at state/cache: it must be a folder of this user with mode 0700; remove it, it is made anew", in ASSESS,
        "Lets others put compiled scripts where they are trusted." => |host| mode(host, "state/cache", 0o777);
    state_that_others_may_write: "permissions of the state", 3, "error: others than its owner may write into the state folder state (mode 777)",
        "Lets others exchange the journal." => |host| mode(host, "state", 0o777);
    state_that_is_a_file: "check of the state", 3, "error: the state folder state is no folder",
        "Is a file in the place of the state." => |host| {
            fs::remove_dir_all(host.at("state")).unwrap();
            host.write("state", "");
        };
    state_of_another_user: "owner of the state", 3, "error: the state folder … belongs to another user (number …)",
        "Is a state that somebody else owns." => |host| match rustix::process::geteuid().is_root() {
            true => std::os::unix::fs::chown(host.at("state"), Some(1234), None).unwrap(),
            // Root's.
            false => drop(host.write("backout.toml", format!("[site]\nstate = \"/usr/lib\"\n{}", files::SITE))),
        };
}

pub fn section() -> Section {
    let about = "The state of Backout itself, after somebody has been at it; in the same bounds.";
    Section { title: "The state", about: about.to_owned(), attacks: attacks() }
}
