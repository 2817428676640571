//! Makes every call that there is, and believes none of the answers.
wit_bindgen::generate!({ path: "../../../wit", world: "script" });

use backout::host::{service::Status, types::*, *};
use exports::backout::host::life_cycle::{Guest, Risk, Severity, Step};

type Result<T = ()> = std::result::Result<T, Error>;

struct EveryCall;
export!(EveryCall);

type Action = fn() -> Result;
const PREPARE: &[(&str, Action)] = &[("take", take)];
const UPGRADE: &[(&str, Action)] = &[
    ("context", about),
    ("store", keep),
    ("fetch", fetch),
    ("payload", unpack),
    ("clock", wait),
    ("report", tell),
    ("notify", announce),
    ("approval", ask),
    ("probe", knock),
    ("metrics", measure),
    ("files", write),
    ("service", control),
    ("database", change),
    ("tool", migrate),
];
const VERIFY: &[(&str, Action)] = &[("completed", completed)];

fn table(phase: Phase) -> &'static [(&'static str, Action)] {
    match phase {
        Phase::Prepare => PREPARE,
        Phase::Upgrade => UPGRADE,
        Phase::Verify => VERIFY,
        Phase::Rollback => &[("back", back)],
    }
}

impl Guest for EveryCall {
    fn assess() -> Result<Vec<Risk>> {
        let (subject, detail) = ("nothing".into(), "it is only a test".into());
        Ok(vec![Risk { severity: Severity::Medium, subject, detail }])
    }

    fn plan(phase: Phase) -> Result<Vec<Step>> {
        let step = |(name, _): &(&str, Action)| Step {
            name: name.to_string(),
            title: format!("Try {name}"),
            estimate: 1,
            roles: vec!["tester".into()],
            after: None,
            attempts: 1,
        };
        Ok(table(phase).iter().map(step).collect())
    }

    fn run(phase: Phase, name: String) -> Result {
        std::panic::set_hook(Box::new(|panic| log::warn(&panic.to_string())));
        table(phase).iter().find(|(step, _)| *step == name).expect("a step of the plan").1()
    }
}

fn take() -> Result {
    let database = backup::take("orders")?;
    assert!(database.proven && database.bytes > 100_000 && !database.id.is_empty(), "{database:?}");
    assert!(backup::take("config")?.proven);
    assert!(backup::loss("orders")?.iter().all(|lost| lost.rows + lost.changed + lost.missing == 0));
    database::check_unchanged("orders")
}

fn about() -> Result {
    let run = context::current();
    assert_eq!((run.package_name.as_str(), run.version.as_str()), ("test/every-call", "1.0.0"));
    assert_eq!((run.from_version.as_str(), run.to_version.as_str()), ("1.0", "1.0.0"));
    assert_eq!((run.phase, run.step.as_str(), run.attempt, run.rolled_back), (Phase::Upgrade, "context", 1, false));
    assert_eq!((context::setting("pause"), context::setting("loud")), ("1".into(), "true".into()));
    log::debug("a detail");
    log::info("a line");
    log::warn("a warning");
    Ok(())
}

fn keep() -> Result {
    assert_eq!(store::get("word"), None);
    store::set("word", "first");
    store::set("word", "grüße");
    Ok(())
}

/// Another step, another instance.
fn fetch() -> Result {
    assert_eq!(store::get("word").as_deref(), Some("grüße"));
    Ok(())
}

fn unpack() -> Result {
    assert_eq!(payload::read("greeting")?, b"hello\n");
    assert_eq!(payload::read("nothing").unwrap_err().kind, Kind::NotFound);
    Ok(())
}

fn wait() -> Result {
    let before = clock::now();
    clock::sleep(context::setting("pause").parse().unwrap());
    let waited = clock::now() - before;
    assert!((1_000..60_000).contains(&waited), "{waited} ms");
    Ok(())
}

fn tell() -> Result {
    report::check(report::Area::Security, "the door is shut", true, "looked twice");
    report::note("nobody was there");
    Ok(())
}

fn announce() -> Result {
    notify::send("ops", "half of it is done", "and the rest\nfollows")?;
    assert_eq!(notify::send("ops", " ", "no title").unwrap_err().kind, Kind::Invalid);
    assert_eq!(notify::send("elsewhere", "anybody?", "").unwrap_err().kind, Kind::Denied);
    Ok(())
}

fn ask() -> Result {
    assert_eq!(approval::ask("may this go on?", "owner")?, "Ada");
    // Nobody gave that one beforehand, and there is no terminal.
    assert_eq!(approval::ask("and this?", "nobody").unwrap_err().kind, Kind::Unavailable);
    Ok(())
}

fn knock() -> Result {
    let answer = probe::get("shop", "/health")?;
    assert!(answer.status == 200 && answer.body.contains("1.0.0"), "{answer:?}");
    probe::check("shop", "/orders/1", "status = 200 and json total > 0")?;
    assert_eq!(probe::check("shop", "/orders/1", "status = 404").unwrap_err().kind, Kind::Failed);
    assert_eq!(probe::check("shop", "/orders/1", "status is 200").unwrap_err().kind, Kind::Invalid);
    probe::until("shop", "/health", "status = 200", 10)?;
    assert_eq!(probe::until("shop", "/health", "status = 404", 1).unwrap_err().kind, Kind::TimedOut);
    probe::check_load("shop", "/orders", 2, 1, "errors < 1%")?;
    assert_eq!(probe::check_load("shop", "/orders", 1_000, 1, "errors < 1%").unwrap_err().kind, Kind::Denied);
    probe::tcp("shop")
}

fn measure() -> Result {
    assert!((0.0..=1.0).contains(&metrics::query("host", "cpu")?));
    assert_eq!(metrics::query("host", "disk-free").unwrap_err().kind, Kind::Denied, "the need does not name it");
    metrics::baseline("host", 3)?;
    metrics::check("host", "memory > 1MiB and memory <= 5 * baseline")?;
    metrics::watch("host", "memory > 1MiB", 2)?;
    let compared = metrics::compare("host", "memory <= 5 * baseline", 24);
    assert_eq!(compared.unwrap_err().kind, Kind::Inconclusive, "four samples of a baseline say nothing");
    assert_eq!(metrics::check("host", "memory < 1B").unwrap_err().kind, Kind::Failed);
    // Other tests on the same server may have some of their own.
    assert_eq!(metrics::promql("prom", "1 + 1")?, 2.0);
    assert_eq!(metrics::promql("host", "1 + 1").unwrap_err().kind, Kind::Denied);
    assert!(metrics::alerts("prom")?.iter().all(|alert| !alert.name.is_empty() && alert.since > 0));
    assert_eq!(metrics::alerts("host").unwrap_err().kind, Kind::Invalid, "a machine has no alerts");
    let host = metrics::host("host")?;
    assert!(
        host.memory_used > 0 && host.memory_total > host.memory_used && host.disk_total > host.disk_free,
        "{host:?}"
    );
    Ok(())
}

fn write() -> Result {
    files::write("config", "mail/test.txt", b"hello")?;
    assert_eq!(files::read("config", "mail/test.txt")?, b"hello");
    let entries = files::list("config", "mail")?;
    let test = entries.iter().find(|entry| entry.name == "test.txt").expect("it is listed");
    assert_eq!((test.kind, test.bytes), (files::EntryKind::File, 5));
    files::link("config", "latest.txt", "mail/test.txt")?;
    let link = files::list("config", ".")?.into_iter().find(|entry| entry.name == "latest.txt").expect("it is listed");
    assert_eq!((link.kind, link.target.as_str()), (files::EntryKind::Link, "mail/test.txt"));
    assert_eq!(backup::loss("config")?.iter().map(|lost| lost.rows).sum::<u64>(), 2);
    Ok(())
}

fn control() -> Result {
    assert_eq!(service::get_status("shop")?, Status::Running);
    logs::mark("shop")?;
    service::restart("shop")?;
    assert_eq!(service::reload("shop").unwrap_err().kind, Kind::Invalid, "the site names no signal");
    probe::until("shop", "/health", "status = 200", 20)?;
    logs::check("shop", &["no such word".into()])?;
    assert!(!logs::search("shop", "1.0.0")?.is_empty());
    service::stop("shop")?;
    service::stop("shop")?;
    assert_eq!(service::get_status("shop")?, Status::Stopped);
    Ok(())
}

fn change() -> Result {
    assert_eq!(database::activity("orders")?.len(), 0);
    database::fence("orders", 10)?;
    assert!(backup::refresh()?.iter().all(|snapshot| snapshot.proven));
    database::check_unchanged("orders")?;
    let before = database::query("orders", "SELECT count(*), max(id) FROM orders")?;
    assert_eq!(database::execute("orders", "UPDATE orders SET note = 'seen' WHERE id = 1")?, 1);
    assert_eq!(database::query("orders", "SELECT note FROM orders WHERE id = 1")?, [["seen"]]);
    assert_eq!(database::query("orders", "SELECT count(*), max(id) FROM orders")?, before);
    assert_eq!(database::query("orders", "DELETE FROM orders").unwrap_err().kind, Kind::Invalid);
    assert_eq!(database::check_unchanged("orders").unwrap_err().kind, Kind::Failed);
    assert_eq!(backup::loss("orders")?.iter().map(|lost| lost.changed).sum::<u64>(), 1);
    database::unfence("orders")
}

fn migrate() -> Result {
    tool::run("migrate")?;
    service::start("shop")?;
    probe::until("shop", "/health", "status = 200", 20)
}

fn completed() -> Result {
    assert!(context::completed("upgrade/tool") && !context::completed("upgrade/nothing"));
    Ok(())
}

fn back() -> Result {
    service::stop("shop")?;
    backup::restore("orders")?;
    service::start("shop")
}
