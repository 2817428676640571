//! What Backout itself tells of a run: also when the script breaks down, once each, and without holding anything up.
use crate::support::{
    bench::{BACKOUT, PATIENCE},
    command::{Ended, backout},
    gateway::Gateway,
    guests,
    hook::Hook,
    packages::Folder,
};
use backout::journal::{Entry, Reader};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    net::SocketAddr,
    process::{Command, Stdio},
};
use tokio::runtime::Runtime;

const ALL: &str = r#"on = ["start", "needs-people", "failed", "rolled-back", "end"]"#;
/// Writes down what it is told, the event first.
const PAGER: &str = r#"driver = "command"
run = ["sh", "-c", "{ echo \"== $BACKOUT_EVENT\"; cat; } > told.$$ && cat told.$$ >> told && rm told.$$"]"#;

/// With a package that breaks down in the middle of its upgrade.
fn host(channels: &str) -> Folder {
    let host = Folder::new();
    host.write("backout.toml", format!("[site]\nstate = \"state\"\n\n[allow.\"evil/script\"]\n\n{channels}"));
    host.write("package/script.wasm", guests::attack("panic_in_upgrade"));
    host.write("package/gift.tar", "");
    let manifest = fs::read_to_string(guests::root().join("tests/attacks/package.toml")).unwrap();
    host.write("package/package.toml", manifest);
    host
}

fn run(host: &Folder, arguments: &[&str]) -> Ended {
    backout(host.path(), arguments, PATIENCE * 2)
}

fn told(host: &Folder) -> String {
    fs::read_to_string(host.at("told")).unwrap_or_default()
}

fn events(told: &str) -> Vec<&str> {
    let mut events: Vec<&str> = told.lines().filter_map(|line| line.strip_prefix("== ")).collect();
    events.sort_unstable();
    events
}

#[test]
fn people_hear_of_a_bad_upgrade_once_although_the_script_broke_down() {
    let host = host(&format!("[channel.ops]\n{PAGER}\n{ALL}\n\n[channel.quiet]\n{}\n", PAGER.replace("told", "never")));
    run(&host, &["plan", "package"]);
    run(&host, &["explore", "package"]);
    run(&host, &["test", "package"]);
    assert_eq!(told(&host), "", "nobody is told of a plan");
    let ended = run(&host, &["upgrade", "package", "--yes"]);
    assert_eq!(ended.code, Some(4), "{}", ended.text);
    let told = told(&host);
    assert_eq!(events(&told), ["failed", "rolled-back", "start"], "{told}");
    for words in [
        "evil/script: upgrade",
        " failed, rolling back",
        "no way forward at 42",
        "as before. Not upgraded",
        "Backout on ",
    ] {
        assert!(told.contains(words), "{words} is not in\n{told}");
    }
    let report = fs::read_to_string(host.at("state/runs/1/report.md")).unwrap();
    assert!(report.contains("channel ops was told: failed"), "{report}");
    assert!(!host.at("never").exists(), "a channel without `on` is there for scripts");
    assert_eq!(run(&host, &["audit"]).code, Some(0));
    assert_eq!(run(&host, &["replay", "1"]).code, Some(0));
    assert_eq!(self::told(&host), told, "nobody is told again");
}

/// Of each event the keys that came, and how often one came to somebody who cannot tell messages apart.
#[test]
fn whoever_is_killed_tells_nothing_twice_when_it_goes_on() {
    let runtime = Runtime::new().unwrap();
    let mut killed = 0;
    for point in (1..).step_by(3) {
        let hook = runtime.block_on(Hook::answering(&[]));
        let secret = "sixteen bytes or more";
        let host = host(&format!(
            "[channel.ops]\n{PAGER}\n{ALL}\n\n[channel.hook]\ndriver = \"webhook\"\nurl = \"{}\"\nsecret = {{ file = \"secret\" }}\n{ALL}\n",
            hook.server.url("/hook")
        ));
        host.write("secret", secret);
        fs::set_permissions(host.at("secret"), std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        let mut upgrade = Command::new(BACKOUT);
        upgrade.args(["upgrade", "package", "--yes"]).current_dir(host.path()).env_remove("BACKOUT_SITE");
        let quiet = upgrade.env("BACKOUT_CRASH_AT", point.to_string()).stdin(Stdio::null());
        let first = quiet.output().unwrap();
        let resumed = run(&host, &["resume", "--yes"]);
        let went_on = resumed.code == Some(4);
        assert!(went_on || resumed.code == Some(3), "{point}: {}", resumed.text);
        let mut keys: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for posted in hook.posted() {
            let event = posted.json()["data"]["event"].as_str().unwrap().to_owned();
            keys.entry(event).or_default().insert(posted.header("webhook-id").to_owned());
        }
        let whole = went_on || first.status.code() == Some(4);
        for event in ["start", "failed", "rolled-back"] {
            let count = keys.get(event).map_or(0, BTreeSet::len);
            assert!(count <= 1 && (count == 1 || !whole), "{point}: {event} has {count} keys\n{}", resumed.text);
            let told = told(&host);
            assert!(events(&told).iter().filter(|told| **told == event).count() <= 1, "{point}: {told}");
        }
        assert_eq!(
            run(&host, &["audit"]).code,
            Some(if host.at("state/journal.db").exists() { 0 } else { 3 }),
            "{point}"
        );
        match first.status.code() {
            None => killed += 1,
            Some(code) => {
                assert_eq!(code, 4, "{}", String::from_utf8_lossy(&first.stderr));
                break;
            }
        }
    }
    assert!(killed > 5, "{killed}");
}

fn webhook(hook: &Hook) -> String {
    let url = hook.server.url("/hook");
    format!("[channel.hook]\ndriver = \"webhook\"\nurl = \"{url}\"\nsecret = {{ file = \"secret\" }}\n{ALL}\n")
}

fn with_secret(host: &Folder) {
    host.write("secret", "sixteen bytes or more");
    fs::set_permissions(host.at("secret"), std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
}

#[test]
fn on_a_slow_channel_nothing_overtakes() {
    let runtime = Runtime::new().unwrap();
    // Puts the first off twice, for longer than the whole upgrade takes.
    let hook = runtime.block_on(Hook::answering(&[503, 503, 503]));
    let host = host(&webhook(&hook));
    with_secret(&host);
    let ended = run(&host, &["upgrade", "package", "--yes"]);
    assert_eq!(ended.code, Some(4), "{}", ended.text);
    let told: Vec<(String, u16)> = hook
        .posted()
        .iter()
        .map(|posted| (posted.json()["data"]["event"].as_str().unwrap().to_owned(), posted.status))
        .collect();
    let told: Vec<(&str, u16)> = told.iter().map(|(event, status)| (event.as_str(), *status)).collect();
    let tries = [("start", 503), ("start", 503), ("start", 503), ("start", 200), ("failed", 200), ("rolled-back", 200)];
    assert_eq!(told, tries);
}

#[test]
fn people_hear_of_a_run_that_stands_half_way() {
    let host = Folder::new();
    let steps = r#"settings = { upgrade = "forth 1 - fail:failed:9", rollback = "back 1 - fail:failed:9" }"#;
    host.write(
        "backout.toml",
        format!(
            "[service.shop]\ndriver = \"process\"\nrun = [\"true\"]\n[tool.once]\nrun = [\"true\"]\n[tool.again]\nrun = [\"true\"]\n\
             [allow.\"test/scripted\"]\ntool.once = {{ may = [\"run\"] }}\ntool.again = {{ may = [\"run\"] }}\n\
             service.shop = {{ may = [\"control\"] }}\nrequire = {{ {steps} }}\n\
             [channel.ops]\n{PAGER}\non = [\"needs-people\"]\n[channel.all]\n{}\n{ALL}\n",
            PAGER.replace("told", "all")
        ),
    );
    guests::scripted().copy_to(&host.at("scripted"));
    let ended = run(&host, &["upgrade", "scripted", "--yes"]);
    assert_eq!(ended.code, Some(5), "{}", ended.text);
    let told = told(&host);
    assert_eq!(events(&told), ["needs-people"], "{told}");
    for words in ["rollback/back", "People are needed"] {
        assert!(told.contains(words), "{words} is not in\n{told}");
    }
    // What is several things is told once.
    let all = fs::read_to_string(host.at("all")).unwrap();
    assert_eq!(events(&all), ["failed", "needs-people", "start"], "{all}");
}

fn silent(server: SocketAddr) -> String {
    let port = server.port();
    format!(
        "[channel.mail]\ndriver = \"smtp\"\nserver = \"127.0.0.1:{port}\"\ntls = \"none\"\nfrom = \"backout@example.org\"\n\
         to = [\"ops@example.org\"]\ntimeout = \"15s\"\nwithin = \"15s\"\n{ALL}\n"
    )
}

#[test]
fn a_dead_mail_server_holds_up_no_rollback() {
    let runtime = Runtime::new().unwrap();
    let gateway = runtime.block_on(Gateway::silent());
    let host = host(&format!("{}\n[channel.ops]\n{PAGER}\n{ALL}\n", silent(gateway.address)));
    let ended = run(&host, &["upgrade", "package", "--yes"]);
    assert_eq!(ended.code, Some(4), "{}", ended.text);
    assert_eq!(events(&told(&host)), ["failed", "rolled-back", "start"], "another channel waits for nobody");
    let report = fs::read_to_string(host.at("state/runs/1/report.md")).unwrap();
    for event in ["start", "failed", "rolled-back"] {
        let line = format!("channel mail could not be told ({event}): ");
        assert!(ended.text.contains(&line) && report.contains(&line), "{event}: {}\n{report}", ended.text);
    }
    let entries = Reader::open(&host.at("state/journal.db")).unwrap().entries(1).unwrap();
    let position =
        |wanted: &dyn Fn(&Entry, &str) -> bool| entries.iter().position(|r| wanted(&r.entry, &r.place.phase));
    let begun = position(&|entry, _| matches!(entry, Entry::Telling { event, .. } if event == "start")).unwrap();
    let back = position(&|entry, phase| matches!(entry, Entry::StepEnded { .. }) && phase == "rollback").unwrap();
    let given_up = position(&|entry, _| matches!(entry, Entry::Told { event, .. } if event == "start")).unwrap();
    assert!(begun < back && back < given_up, "the rollback waited for it: {begun} {back} {given_up}");
    assert!(gateway.tries() >= 3);
}

#[test]
fn whoever_is_asked_is_told_so_once() {
    let host = Folder::new();
    host.write("backout.toml", format!("[allow.\"test/people\"]\n\n[channel.ops]\n{PAGER}\non = [\"needs-people\"]\n"));
    guests::people().copy_to(&host.at("people"));
    let ended = run(&host, &["upgrade", "people", "--yes", "--approve", "owner=Ada"]);
    assert_eq!(ended.code, Some(0), "{}", ended.text);
    let told = told(&host);
    assert_eq!(events(&told), ["needs-people"; 2], "Ada has approved already: {told}");
    for words in
        ["somebody is asked to approve, as database administrator", "The script asks: May this go on, operator?"]
    {
        assert!(told.contains(words), "{told}");
    }
}

#[test]
fn a_trial_shows_whether_it_arrives() {
    let host = host(&format!(
        "[channel.ops]\n{PAGER}\n\n[channel.lost]\ndriver = \"command\"\nrun = [\"sh\", \"-c\", \"exit 3\"]\n"
    ));
    let ended = run(&host, &["notify", "ops", "--text", "anybody there?"]);
    assert_eq!((ended.code, ended.text.as_str()), (Some(0), "✓ channel ops (command) has taken it\n"));
    let told = told(&host);
    assert!(events(&told) == ["trial"] && told.contains("anybody there?"), "{told}");
    let ended = run(&host, &["notify", "lost"]);
    assert_eq!(ended.code, Some(1), "{}", ended.text);
    assert!(ended.text.contains("channel lost: `lost` failed with exit status 3"), "{}", ended.text);
    let ended = run(&host, &["notify", "opps"]);
    assert_eq!(ended.code, Some(3), "{}", ended.text);
    assert!(
        ended.text.contains("the site has no channel `opps`") && ended.text.contains("lost, ops"),
        "{}",
        ended.text
    );
    assert!(!host.at("state/journal.db").exists());
}
