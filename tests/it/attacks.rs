//! A script that means harm: each attack ends by itself, in bounded time, with a message that says what it was, and changes
//! nothing. `tests/guests/hostile` is the attacker.
use crate::support::{
    command::{Ended, backout},
    guests,
    packages::Folder,
};
use serde_json::Value;
use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::{MetadataExt, symlink},
    path::Path,
    time::Duration,
};

/// What nobody but its owner may see.
const SECRET: &str = "sesame-7f3a9";
/// Far more than any attack needs, and far less than for ever; the machine may be busy.
const PATIENCE: Duration = Duration::from_secs(120);

const SITE: &str = r#"
[tree.app]
path = "srv/app"

[tree.data]
path = "srv/data"

[service.shop]
driver = "process"
run = ["/bin/sleep", "1000"]

[tool.migrate]
run = ["/bin/touch", "srv/migrated"]

[limits]
cpu = "1s"
time = "5s"

[allow."evil/script"]
tree.app = { may = ["read", "write", "backup", "restore"] }
"#;

/// A host with something to lose, and the package.
fn host(attack: &str, phase: &str) -> Folder {
    let host = Folder::new();
    let root = if rustix::process::geteuid().is_root() { "allow-root = true\n" } else { "" };
    host.write("backout.toml", SITE.replace("run = [\"/bin", &format!("{root}run = [\"/bin")));
    host.write("srv/app/file", "an honest file\n");
    host.write("srv/app/sub/file", "another\n");
    host.write("srv/data/file", "of another tree\n");
    host.write("srv/secret", SECRET);
    symlink("../secret", host.at("srv/app/out")).unwrap();
    symlink("..", host.at("srv/app/outside")).unwrap();
    symlink(host.at("srv/secret"), host.at("srv/app/absolute")).unwrap();
    guests::hostile().copy_to(&host.at("package"));
    let mut gift = tar::Builder::new(Vec::new());
    gift.append_path_with_name(host.at("srv/app/file"), "file").unwrap();
    host.write("package/gift.tar", gift.into_inner().unwrap());
    let manifest = fs::read_to_string(host.at("package/package.toml")).unwrap();
    let set = |text: String, name: &str, from: &str, to: &str| {
        let (old, new) = (format!("default = \"{from}\""), format!("default = \"{to}\""));
        assert!(text.contains(&old), "{name} is not in the manifest");
        text.replace(&old, &new)
    };
    let manifest = set(set(manifest, "attack", "none", attack), "phase", "prepare", phase);
    host.write("package/package.toml", manifest);
    host
}

/// Every entry below the folder, with all that can be told of it.
fn everything(folder: &Path) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let (path, about) = (entry.path(), fs::symlink_metadata(entry.path()).unwrap());
        let content = if about.is_symlink() {
            fs::read_link(&path).unwrap().display().to_string()
        } else if about.is_dir() {
            found.extend(everything(&path));
            String::new()
        } else {
            fs::read_to_string(&path).unwrap()
        };
        let line =
            format!("{:o} {}:{} {:?} {content}", about.mode(), about.uid(), about.gid(), about.modified().unwrap());
        found.insert(path.display().to_string(), line);
    }
    found
}

/// Lets it attack in `prepare`: the command must refuse, say why, and leave everything as it was.
fn refused(attack: &str, says: &[&str]) -> Refusal {
    let host = host(attack, "prepare");
    let before = everything(&host.at("srv"));
    let ended = backout(host.path(), &["prepare", "package", "--yes"], PATIENCE);
    assert_eq!(ended.code, Some(3), "{ended:#?}");
    for text in says {
        assert!(ended.text.contains(text), "`{text}` is not said: {}", ended.text);
    }
    assert_eq!(everything(&host.at("srv")), before, "something was changed");
    let control = |c: char| c.is_control() && c != '\n';
    assert!(!ended.text.contains(control), "control characters reach the terminal: {:?}", ended.text);
    assert!(ended.text.len() < 20_000, "{} bytes of output", ended.text.len());
    assert!(occupied(&host.at("state")) < 32 << 20, "the attack has filled the disk");
    let [report, _] = ["report.json", "report.md"].map(|file| {
        let report = fs::read_to_string(host.at("state/runs/1").join(file)).unwrap();
        assert!(!report.contains(SECRET) && !ended.text.contains(SECRET), "the secret got out");
        report
    });
    Refusal { ended, report: serde_json::from_str(&report).unwrap() }
}

struct Refusal {
    ended: Ended,
    report: Value,
}

impl Refusal {
    /// What the host answered to each of the calls that the script tried.
    fn answers(&self) -> BTreeMap<String, String> {
        let message = self.report["ending"]["message"].as_str().unwrap();
        assert!(!message.contains("GOT THROUGH"), "{message}");
        let (_, calls) = message.split_once(": ").unwrap();
        let answers = calls.trim_end_matches(" (failed)").split(" ¦ ").map(|call| call.split_once(": ").unwrap());
        answers.map(|(call, answer)| (call.to_owned(), answer.to_owned())).collect()
    }
}

fn occupied(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.map(|path| if path.is_dir() { occupied(&path) } else { fs::metadata(path).unwrap().len() }).sum()
}

/// Otherwise the tests below would prove nothing.
#[test]
fn a_script_that_means_no_harm_is_run() {
    let host = host("none", "prepare");
    let ended = backout(host.path(), &["prepare", "package", "--yes"], PATIENCE);
    assert_eq!(ended.code, Some(0), "{ended:#?}");
}

#[test]
fn a_loop_ends() {
    let Refusal { ended, .. } = refused("loop", &["prepare/loop", "beyond a limit", "processor time"]);
    assert!(ended.took >= Duration::from_secs(1), "{ended:#?}");
}

#[test]
fn a_loop_in_the_plan_ends() {
    refused("loop-in-plan", &["beyond a limit", "processor time"]);
}

#[test]
fn ten_gigabytes_are_not_there() {
    refused("allocate", &["prepare/allocate", "beyond a limit", "of memory, the limit is 512 MiB"]);
}

#[test]
fn an_endless_recursion_ends() {
    refused("recurse", &["prepare/recurse", "beyond a limit", "the depth of its stack"]);
}

#[test]
fn a_panic_says_its_message_and_where_it_was() {
    let says =
        &["prepare/panic", "the script broke down", "no way forward at 42", "src/lib.rs", "life-cycle@0.1.0#run"];
    let Refusal { ended, .. } = refused("panic", says);
    assert!(!ended.text.contains("panicking"), "the runtime's own frames are of no use: {}", ended.text);
}

#[test]
fn an_endless_log_ends() {
    refused("log", &["prepare/log", "beyond a limit", "bytes of log"]);
}

#[test]
fn an_endless_store_ends() {
    refused("store", &["prepare/store", "beyond a limit", "store"]);
}

#[test]
fn endless_calls_end() {
    refused("calls", &["prepare/calls", "beyond a limit"]);
}

#[test]
fn an_endless_sleep_ends() {
    let Refusal { ended, .. } = refused("sleep", &["prepare/sleep", "did not end within 5s"]);
    assert!(ended.took >= Duration::from_secs(5), "{ended:#?}");
}

#[test]
fn long_texts_are_not_taken() {
    refused("long-string", &["prepare/long-string", "too much data"]);
    refused("long-file", &["prepare/long-file", "too much data"]);
}

#[test]
fn a_length_that_lies_reads_nothing() {
    let Refusal { ended, .. } = refused("lying-length", &["prepare/lying-length", "the script broke down"]);
    assert!(!ended.text.contains("believed"), "{}", ended.text);
}

#[test]
fn a_long_error_is_cut() {
    refused("long-error", &["prepare/long-error", "xxx"]);
}

#[test]
fn a_terminal_is_not_written_to() {
    refused("escape", &["prepare/escape"]);
    let host = host("title", "prepare");
    let ended = backout(host.path(), &["prepare", "package", "--yes"], PATIENCE);
    assert!(!ended.text.contains(|c: char| c.is_control() && c != '\n'), "{:?}", ended.text);
}

#[test]
fn what_is_not_granted_is_denied_and_not_told_apart_from_what_is_not_there() {
    let answers = refused("ungranted", &["prepare/ungranted"]).answers();
    assert_eq!(answers.len(), 6, "{answers:#?}");
    assert!(answers.values().all(|answer| answer.starts_with("Kind::Denied: ")), "{answers:#?}");
    let (there, not_there) = (&answers["a resource of the site"], &answers["no resource at all"]);
    assert_eq!(there.replace("shop", "…"), not_there.replace("nobody", "…"));
}

#[test]
fn no_path_leads_out_of_a_tree() {
    let owned = Path::new("/tmp/owned-by-a-script");
    let answers = refused("paths", &["prepare/paths"]).answers();
    assert_eq!(answers.len(), 17, "{answers:#?}");
    assert!(answers.values().all(|answer| answer.starts_with("Kind::Denied: ")), "{answers:#?}");
    assert!(!owned.exists());
}

#[test]
fn a_path_that_is_none_is_invalid() {
    let answers = refused("no-paths", &["prepare/no-paths"]).answers();
    assert!(answers.values().all(|answer| answer.starts_with("Kind::Invalid: ")), "{answers:#?}");
}

#[test]
fn a_plan_that_cannot_be_followed_is_refused() {
    refused("cycle", &["the steps wait for each other", "a → c → b → a"]);
    refused("twice", &["step `a`", "the name stands twice"]);
    refused("unknown-after", &["comes after `nobody`, which is no step of this phase"]);
    refused("names", &["a name has 1 to 64 lower-case letters"]);
    refused("many-steps", &["1000 steps, the limit is 200"]);
    refused("far-too-many-steps", &["too much data"]);
}

/// In the middle of an upgrade: the way back is taken, and ends where it began.
#[test]
fn a_panic_in_the_upgrade_leads_back() {
    let host = host("panic", "upgrade");
    let before = everything(&host.at("srv"));
    let ended = backout(host.path(), &["upgrade", "package", "--yes"], PATIENCE);
    assert_eq!(ended.code, Some(4), "{ended:#?}");
    assert!(ended.text.contains("upgrade/panic") && ended.text.contains("no way forward at 42"), "{}", ended.text);
    assert_eq!(everything(&host.at("srv")), before);
}
