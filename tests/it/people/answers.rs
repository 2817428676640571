//! Answers by a signed POST and by a file: what counts, and what everybody tries for whom it does not.
use crate::support::{
    bench::{BACKOUT, PATIENCE, wait_for},
    command::backout,
    guests,
    hook::{Hook, Posted},
    packages::Folder,
    product::Product,
    terminal::Terminal,
};
use backout::site::Site;
use base64::{Engine, prelude::BASE64_STANDARD};
use ring::hmac;
use rustix::fs::{CWD, FileType, Mode, mknodat};
use serde_json::{Value, json};
use std::{
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    os::unix::fs::{PermissionsExt, chown, symlink},
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{SystemTime, UNIX_EPOCH},
};
use tokio::runtime::Runtime;

const SECRET: &str = "what only those know who answer";
/// An account of every Debian.
const ADA: u32 = 65534;

/// Ada, of the account `nobody`, is the owner; the other roles are nobody's.
fn host(hook: &Hook, answers: &str) -> Folder {
    let host = Folder::new();
    host.write("ada.pub", format!("backout-key 1 {}\n", "5a".repeat(32)));
    host.write("secret", SECRET);
    fs::set_permissions(host.at("secret"), PermissionsExt::from_mode(0o600)).unwrap();
    host.folder("answers");
    let url = hook.server.url("/hook");
    host.write(
        "backout.toml",
        format!(
            "[allow.\"test/people\"]\n\n[approver.ada]\nkey = \"ada.pub\"\nroles = [\"owner\"]\nuser = \"nobody\"\n\n\
             [channel.hook]\ndriver = \"webhook\"\nurl = \"{url}\"\nsecret = {{ file = \"secret\" }}\non = [\"needs-people\"]\n\n\
             [answers]\n{answers}\n"
        ),
    );
    guests::people().copy_to(&host.at("people"));
    host
}

struct Upgrade(Child);
impl Upgrade {
    fn of(host: &Folder, arguments: &[&str]) -> Self {
        let mut command = Command::new(BACKOUT);
        command.args(arguments).current_dir(host.path()).env_remove("BACKOUT_SITE").env("NO_COLOR", "1");
        let output = fs::File::options().append(true).create(true).open(host.at("output")).unwrap();
        command.stdin(Stdio::null()).stdout(output.try_clone().unwrap()).stderr(output);
        Self(command.spawn().unwrap())
    }
    #[track_caller]
    fn ends(mut self, host: &Folder) -> String {
        let status = wait_for("the end of the upgrade", || self.0.try_wait().unwrap());
        let output = fs::read_to_string(host.at("output")).unwrap();
        assert_eq!(status.code(), Some(0), "{output}");
        output
    }
}
impl Drop for Upgrade {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What is asked of this role.
fn asked(hook: &Hook, role: &str) -> (String, Posted) {
    wait_for(&format!("a question to the {role}"), || {
        let found = hook.posted().into_iter().find(|posted| posted.json()["data"]["question"]["role"] == role)?;
        Some((found.json()["data"]["question"]["id"].as_str()?.to_owned(), found))
    })
}

fn answer(question: &str, run: u64, word: &str, by: &str) -> Value {
    json!({ "question": question, "run": run, "answer": word, "by": by })
}

fn body(data: Value) -> String {
    json!({ "type": "backout.answer", "data": data }).to_string()
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

fn sign(secret: &str, id: &str, at: u64, body: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    format!("v1,{}", BASE64_STANDARD.encode(hmac::sign(&key, format!("{id}.{at}.{body}").as_bytes())))
}

/// Status and text of the reply; `None` when nobody listens.
fn post(to: SocketAddr, headers: &[(&str, &str)], body: &str) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect(to).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let length = body.len();
    let request = format!(
        "POST /answers HTTP/1.1\r\nhost: {to}\r\nconnection: close\r\ncontent-length: {length}\r\n{headers}\r\n{body}"
    );
    stream.write_all(request.as_bytes()).ok()?;
    let mut reply = String::new();
    let _ = stream.read_to_string(&mut reply);
    let (head, text) = reply.split_once("\r\n\r\n")?;
    Some((head.split(' ').nth(1)?.parse().ok()?, text.trim().to_owned()))
}

fn posted(to: SocketAddr, id: &str, body: &str) -> Option<(u16, String)> {
    let at = now();
    let signature = sign(SECRET, id, at, body);
    let headers = [("webhook-id", id), ("webhook-timestamp", &at.to_string()), ("webhook-signature", &signature)];
    post(to, &headers, body)
}

#[track_caller]
fn replies(reply: Option<(u16, String)>, status: u16, text: &str) {
    assert_eq!(reply, Some((status, text.to_owned())));
}

#[test]
fn a_posted_answer_is_signed_for_one_question_and_counts_once() {
    let runtime = Runtime::new().unwrap();
    let hook = runtime.block_on(Hook::answering(&[]));
    // Somebody else has the address at first.
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let to = taken.local_addr().unwrap();
    let host = host(&hook, &format!("listen = \"{to}\"\nchannel = \"hook\""));
    let upgrade = Upgrade::of(&host, &["upgrade", "people", "--yes"]);
    let (owner, question) = asked(&hook, "owner");
    let (admin, _) = asked(&hook, "database administrator");
    let output = || fs::read_to_string(host.at("output")).unwrap();
    wait_for("word of the address", || output().contains("no answers can be taken at").then_some(()));
    drop(taken);
    wait_for("somebody who listens", || TcpStream::connect(to).ok());

    let right = body(answer(&owner, 1, "yes", "ada"));
    let unsigned = "its signature does not hold";
    replies(post(to, &[], &right), 401, unsigned);
    let signed = |secret: &str, at: u64, signed: &str, sent: &str| {
        let headers = [
            ("webhook-id", "a1"),
            ("webhook-timestamp", &at.to_string()),
            ("webhook-signature", &sign(secret, "a1", at, signed)),
        ]
        .map(|(name, value)| (name, value.to_owned()));
        let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        post(to, &headers, sent)
    };
    replies(signed("the secret of somebody else", now(), &right, &right), 401, unsigned);
    replies(signed(SECRET, now(), &body(answer(&owner, 1, "no", "ada")), &right), 401, unsigned);
    for at in [now() - 600, now() + 600] {
        replies(signed(SECRET, at, &right, &right), 401, "its time is more than five minutes away from the time here");
    }
    // What Backout itself has signed is no answer.
    let own: Vec<(&str, &str)> = ["webhook-id", "webhook-timestamp", "webhook-signature"]
        .iter()
        .map(|name| (*name, question.header(name)))
        .collect();
    assert_eq!(post(to, &own, std::str::from_utf8(&question.body).unwrap()).unwrap().0, 400);
    for rubbish in ["", "yes", "[[[[[[[[", r#"{"type":"backout.answer"}"#] {
        assert_eq!(posted(to, "a2", rubbish).unwrap().0, 400, "{rubbish}");
    }
    let mut more = answer(&owner, 1, "yes", "ada");
    more["and"] = "more".into();
    assert_eq!(posted(to, "a2", &body(more)).unwrap().0, 400);
    assert_eq!(posted(to, "a2", &body(answer(&owner, 1, "YES", "ada"))).unwrap().0, 400);
    assert_eq!(posted(to, "a2", &" ".repeat(1 << 20)).map_or(413, |(status, _)| status), 413);
    replies(posted(to, "a3", &body(answer(&"0".repeat(32), 1, "yes", "ada"))), 404, "nobody asks this");
    replies(posted(to, "a3", &body(answer(&owner, 2, "yes", "ada"))), 403, "it does not count");
    replies(posted(to, "a3", &body(answer(&owner, 1, "yes", "mallory"))), 403, "it does not count");
    replies(posted(to, "a3", &body(answer(&owner, 1, "yes", "ada\nada"))), 403, "it does not count");

    replies(posted(to, "b1", &right), 200, "taken");
    replies(posted(to, "b1", &right), 200, "it was taken already");
    replies(posted(to, "b1", &body(answer(&admin, 1, "yes", "bert"))), 409, "its id is that of another answer");
    let again = posted(to, "b2", &right).unwrap();
    assert_eq!(again.0, 404, "{again:?}");
    replies(posted(to, "b3", &body(answer(&admin, 1, "no", "bert"))), 200, "taken");

    // Between two questions nobody listens, and an earlier answer is none to a later one.
    let (operator, _) = asked(&hook, "operator");
    assert_ne!(operator, owner);
    let late = wait_for("somebody who listens", || posted(to, "b4", &right));
    replies(Some(late), 404, "nobody asks this");
    replies(posted(to, "b5", &body(answer(&operator, 1, "yes", "grace"))), 200, "taken");
    upgrade.ends(&host);
    assert_eq!(post(to, &[], &right), None);

    let report = host.read("state/runs/1/report.md");
    for words in [
        "owner: yes, says ada",
        "database administrator: Kind::Denied, it was not approved: bert says no",
        "operator: yes, says grace",
        "asked to approve as owner, ada says yes, by webhook",
        "asked to approve as database administrator, bert says no, by webhook",
        "an answer by webhook does not count: its signature does not hold",
        "an answer by webhook does not count: it is for run 2, asked is in run 1",
        "does not have the role that is asked for",
    ] {
        assert!(report.contains(words), "`{words}` is not in\n{report}");
    }
    assert_eq!(hook.posted().len(), 3, "each is told once");
    let journal = backout(host.path(), &["show", "1", "--json"], PATIENCE).text;
    for text in [&report, &journal, &host.read("output")] {
        assert!(!text.contains(SECRET));
    }
    assert_eq!(backout(host.path(), &["audit"], PATIENCE).code, Some(0));
    assert_eq!(backout(host.path(), &["replay", "1"], PATIENCE).code, Some(0));
}

/// As people do it who want nobody to read a half of it.
fn put(host: &Folder, name: &str, content: &str, owner: u32, mode: u32) -> PathBuf {
    let (draft, file) = (host.at("draft"), host.at("answers").join(name));
    fs::write(&draft, content).unwrap();
    fs::set_permissions(&draft, PermissionsExt::from_mode(mode)).unwrap();
    chown(&draft, Some(owner), None).expect("this test runs as root");
    fs::rename(&draft, &file).unwrap();
    file
}

#[test]
fn a_file_counts_by_whose_it_is() {
    let runtime = Runtime::new().unwrap();
    let hook = runtime.block_on(Hook::answering(&[]));
    let host = host(&hook, "folder = \"answers\"");
    let mut upgrade = Upgrade::of(&host, &["upgrade", "people", "--yes"]);
    let (id, question) = asked(&hook, "owner");
    let text = question.json()["data"]["text"].as_str().unwrap().to_owned();
    assert!(text.contains("May this go on, owner?") && text.contains(&format!("a file {id}.json in ")), "{text}");
    let right = answer(&id, 1, "yes", "ada").to_string();
    let output = || fs::read_to_string(host.at("output")).unwrap();
    let refused = |name: &str, why: &str| {
        let words = format!("the answer {id}{name}.json does not count: {why}");
        wait_for(&words, || output().contains(&words).then_some(()));
    };
    let put_as = |name: &str, content: &str, owner, mode| put(&host, &format!("{id}{name}.json"), content, owner, mode);
    put_as(".other", &right, 1, 0o644);
    refused(".other", "it belongs to another account than that of `ada`");
    put_as(".open", &right, ADA, 0o664);
    refused(".open", "others than its owner may write it (mode 664)");
    put_as(".mallory", &answer(&id, 1, "yes", "mallory").to_string(), 0, 0o644);
    refused(".mallory", "on this site `mallory` does not have the role that is asked for");
    put_as(".run", &answer(&id, 7, "yes", "ada").to_string(), ADA, 0o644);
    refused(".run", "it is for run 7, asked is in run 1");
    put_as(".else", &answer(&"0".repeat(32), 1, "yes", "ada").to_string(), ADA, 0o644);
    refused(".else", "it is for another question");
    put_as(".half", &right[..30], ADA, 0o644);
    refused(".half", "it is not understood");
    put_as(".long", &format!("{right}{}", " ".repeat(5000)), ADA, 0o644);
    refused(".long", "it has more than 4096 bytes");
    let folder = host.at("answers");
    let elsewhere = put(&host, "elsewhere", &right, ADA, 0o644);
    symlink(&elsewhere, folder.join(format!("{id}.link.json"))).unwrap();
    refused(".link", "it is a link");
    fs::hard_link(&elsewhere, folder.join(format!("{id}.name.json"))).unwrap();
    refused(".name", "it has several names");
    fs::create_dir(folder.join(format!("{id}.dir.json"))).unwrap();
    refused(".dir", "it is no file");
    mknodat(CWD, folder.join(format!("{id}.pipe.json")), FileType::Fifo, Mode::RWXU, 0).unwrap();
    refused(".pipe", "it is no file");
    // Nobody has answered until now.
    assert!(!output().contains("says yes") && upgrade.0.try_wait().unwrap().is_none(), "{}", output());

    put_as(".yes", &right, ADA, 0o644);
    let (admin, _) = asked(&hook, "database administrator");
    put(&host, &format!("{admin}.json"), &answer(&admin, 1, "no", "bert").to_string(), 0, 0o600);
    // Killed while somebody is asked, it asks the same again: what was answered meanwhile counts, and nobody is told twice.
    let (operator, _) = asked(&hook, "operator");
    upgrade.0.kill().unwrap();
    upgrade.0.wait().unwrap();
    put(&host, &format!("{operator}.json"), &answer(&operator, 1, "yes", "grace").to_string(), 0, 0o644);
    Upgrade::of(&host, &["resume", "--yes"]).ends(&host);
    assert_eq!(hook.posted().len(), 3);
    let report = host.read("state/runs/1/report.md");
    for words in [
        "owner: yes, says ada",
        "database administrator: Kind::Denied, it was not approved: bert says no",
        "operator: yes, says grace",
        "asked to approve as owner, ada says yes, by a file",
    ] {
        assert!(report.contains(words), "`{words}` is not in\n{report}");
    }
    // What lies there yet is no answer to the same question of another run.
    let upgrade = Upgrade::of(&host, &["prepare", "people", "--yes"]);
    wait_for("two more questions", || (hook.posted().len() == 5).then_some(()));
    assert_ne!(hook.posted()[3].json()["data"]["question"]["id"], id);
    drop(upgrade);
}

#[test]
fn nobody_is_asked_for_longer_than_the_site_says() {
    let runtime = Runtime::new().unwrap();
    let hook = runtime.block_on(Hook::answering(&[]));
    let host = host(&hook, "folder = \"answers\"\nwithin = \"1s\"");
    Upgrade::of(&host, &["upgrade", "people", "--yes"]).ends(&host);
    let report = host.read("state/runs/1/report.md");
    for role in ["owner", "database administrator", "operator"] {
        let words = format!("{role}: Kind::TimedOut, nobody has answered within 1s");
        assert!(report.contains(&words), "{words}\n{report}");
    }
    // At a terminal the question is taken back.
    let mut terminal = Terminal::backout(host.path(), "prepare people --yes");
    terminal.shows("nothing for no: ");
    let (shown, code) = terminal.ends();
    assert_eq!(code, 0, "{shown}");
    let report = host.read("state/runs/2/report.md");
    assert!(report.contains("owner: Kind::TimedOut"), "{report}");
}

#[test]
fn whoever_answers_from_elsewhere_takes_the_question_from_the_terminal() {
    let runtime = Runtime::new().unwrap();
    let hook = runtime.block_on(Hook::answering(&[]));
    let to = runtime.block_on(Product::nobody());
    let host = host(&hook, &format!("folder = \"answers\"\nlisten = \"{to}\"\nchannel = \"hook\""));
    let mut terminal = Terminal::backout(host.path(), "prepare people --yes --approve owner=Ada");
    terminal.shows("nothing for no: ");
    let (admin, _) = asked(&hook, "database administrator");
    replies(posted(to, "a1", &body(answer(&admin, 1, "yes", "bert"))), 200, "taken");
    let (shown, code) = terminal.ends();
    assert_eq!(code, 0, "{shown}");
    let report = host.read("state/runs/1/report.md");
    for words in ["database administrator: yes, says bert", "Ada says yes, beforehand", "bert says yes, by webhook"] {
        assert!(report.contains(words), "{words}\n{report}");
    }
}

#[test]
fn a_site_whose_answers_nobody_could_trust_is_refused() {
    let folder = Folder::new();
    folder.write("secret", SECRET);
    fs::set_permissions(folder.at("secret"), PermissionsExt::from_mode(0o600)).unwrap();
    folder.folder("tree/inner");
    fs::set_permissions(folder.folder("everybodys"), PermissionsExt::from_mode(0o777)).unwrap();
    symlink("everybodys", folder.at("link")).unwrap();
    let base = "[tree.app]\npath = \"tree\"\n[channel.chat]\ndriver = \"command\"\nrun = [\"true\"]\non = [\"needs-people\"]\n\
                [channel.hook]\ndriver = \"webhook\"\nurl = \"http://x/\"\nsecret = { file = \"secret\" }\n[answers]\n";
    let mistakes = |answers: &str| {
        let text = format!("{base}{answers}\n");
        let site = Site::parse(&folder.write("backout.toml", &text), text.into_bytes());
        site.map_or_else(|mistakes| mistakes.to_string(), |site| site.survey().to_string())
    };
    for (answers, why) in [
        ("listen = \"127.0.0.1:80\"", "`answers` has a `listen`, and no `channel`"),
        ("listen = \"here\"\nchannel = \"hook\"", "`here` is no address to listen on"),
        ("listen = \"127.0.0.1:0\"\nchannel = \"hook\"", "`127.0.0.1:0` is no address to listen on"),
        ("listen = \"127.0.0.1:80\"\nchannel = \"hok\"", "there is no channel `hok`"),
        ("listen = \"127.0.0.1:80\"\nchannel = \"chat\"", "channel `chat` is no webhook"),
        ("listen = \"127.0.0.1:80\"\nchannel = \"hook\"", "channel `hook` is not told what people are asked"),
        ("within = \"0s\"", "`within` is more than nothing"),
        ("folder = \"tree/inner\"", "lies in tree `app`"),
        ("folder = \"state/answers\"", "lies in Backout's state"),
        ("folder = \"nowhere\"", "the folder of answers"),
        ("folder = \"link\"", "it is a link, or no folder"),
        ("folder = \"everybodys\"", "everybody may write and remove files there"),
    ] {
        let found = mistakes(answers);
        assert!(found.contains(why), "{answers}: {found}");
    }
    fs::set_permissions(folder.at("everybodys"), PermissionsExt::from_mode(0o1777)).unwrap();
    assert_eq!(mistakes("folder = \"everybodys\""), "");
}
