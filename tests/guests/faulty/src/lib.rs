//! A small upgrade of a shop that is right, and variants of it, of which the setting `variant` names one. `polls` and `retries` look
//! odd and are right; each of the others has one fault, but for `looks`, which does more where it finds
//! a certain customer, `picks`, which does something else then, and `notes`, which writes down what it finds and when. The fault `greedy` is not here: it is one of the manifest.
wit_bindgen::generate!({ path: "../../../wit", world: "script" });

use backout::host::{types::*, *};
use exports::backout::host::life_cycle::{Guest, Risk, Step};
use std::sync::OnceLock;

type Result<T = ()> = std::result::Result<T, Error>;
/// Name, title, and what is done.
type Action = (&'static str, &'static str, fn() -> Result);

const VARIANTS: &[&str] = &[
    "",
    "asks-while-planning",
    "checks-late",
    "forgets",
    "forgets-at-times",
    "hides",
    "ignores",
    "left-fenced",
    "left-stopped",
    "looks",
    "loops",
    "no-rollback",
    "notes",
    "picks",
    "polls",
    "restores-first",
    "retries",
    "stays-down",
    "swallows",
    "time",
    "unreachable",
];

struct Faulty;
export!(Faulty);

impl Guest for Faulty {
    fn assess() -> Result<Vec<Risk>> {
        Ok(vec![])
    }

    fn plan(phase: Phase) -> Result<Vec<Step>> {
        begin();
        if phase == Phase::Rollback && is("asks-while-planning") {
            probe::check("shop", "/health", "status = 200")?;
        }
        let step = |(name, title, _): Action| Step {
            name: name.to_owned(),
            title: title.to_owned(),
            estimate: 2,
            roles: vec![],
            after: None,
            attempts: 1,
        };
        Ok(steps(phase).into_iter().map(step).collect())
    }

    fn run(phase: Phase, name: String) -> Result {
        begin();
        let step = steps(phase).into_iter().find(|step| step.0 == name);
        step.expect("a step of the plan").2()
    }
}

static VARIANT: OnceLock<String> = OnceLock::new();

/// Asked for once, whatever the variant is, so that it makes no difference to the operations.
fn begin() {
    std::panic::set_hook(Box::new(|panic| log::warn(&panic.to_string())));
    let variant = VARIANT.get_or_init(|| context::setting("variant"));
    assert!(VARIANTS.contains(&variant.as_str()), "`{variant}` is no variant");
}

fn is(variant: &str) -> bool {
    VARIANT.get().is_some_and(|name| name == variant)
}

fn steps(phase: Phase) -> Vec<Action> {
    match phase {
        Phase::Prepare => vec![("copy", "Copy database and program, prove the copies", copy)],
        Phase::Upgrade => {
            let mut steps: Vec<Action> = vec![
                ("close", "Close the shop, bring the copies up to date", close),
                ("install", "Install 2.0, migrate the database", install),
                ("open", "Start 2.0", if is("left-stopped") { until_it_answers } else { start }),
                ("watch", "Watch 2.0", watch),
            ];
            if is("unreachable") {
                steps.push(("confirm", "See that 2.0 is installed", confirm));
                steps.push(("announce", "Tell that 2.0 runs", announce));
            }
            steps
        }
        Phase::Rollback => {
            let stop: Action = ("stop", "Stop 2.0", || service::stop("shop"));
            let restore: Action = ("restore", "Put 1.0 and its data back", restore);
            let reopen: Action = ("reopen", "Start 1.0", reopen);
            if is("no-rollback") {
                vec![]
            } else if is("restores-first") {
                vec![restore, stop, reopen]
            } else if is("stays-down") {
                vec![stop, restore]
            } else {
                vec![stop, restore, reopen]
            }
        }
        Phase::Verify => {
            vec![("answers", "Orders can be read", || probe::check("shop", "/orders/1", "status = 200"))]
        }
    }
}

fn copy() -> Result {
    backup::take("orders")?;
    backup::take("app").map(drop)
}

fn close() -> Result {
    service::stop("shop")?;
    database::fence("orders", 30)?;
    backup::refresh().map(drop)
}

fn install() -> Result {
    files::install("app", "versions/2.0", "shop-2.0")?;
    link(if is("picks") && again()? { "versions/1.0" } else { "versions/2.0" })?;
    let again = is("looks") && again()?;
    if is("notes") {
        note()?;
    }
    if !is("left-fenced") {
        database::unfence("orders")?; // the migration opens the database itself
    }
    tool::run("migrate")?;
    if again {
        tool::run("migrate")?;
    }
    Ok(())
}

fn again() -> Result<bool> {
    Ok(!database::query("orders", "SELECT 1 FROM customers WHERE name = 'again'")?.is_empty())
}

fn note() -> Result {
    let rows = database::query("orders", "SELECT count(*), max(name) FROM customers")?;
    files::write("app", "customers", format!("{:?}", rows).as_bytes())?;
    files::write("app", "since", format!("{}", clock::now()).as_bytes())
}

fn link(to: &str) -> Result {
    let link = || files::link("app", "current", to);
    match link() {
        Err(_) if is("hides") => Ok(()),
        Err(_) if is("retries") => {
            clock::sleep(1);
            link()
        }
        linked => linked,
    }
}

/// 2.0 in an upgrade, 1.0 in a rollback.
fn start() -> Result {
    service::start("shop")?;
    until_it_answers()
}

fn until_it_answers() -> Result {
    if !is("loops") && !is("polls") {
        return probe::until("shop", "/health", "status = 200", 20);
    }
    // Who asks for the time to know when to give up does the same at any time.
    let end = is("polls").then(|| clock::now() + 20_000);
    while !probe::get("shop", "/health").is_ok_and(|answer| answer.status == 200) {
        if end.is_some_and(|end| clock::now() > end) {
            return fail("no answer within 20 s");
        }
        clock::sleep(1);
    }
    Ok(())
}

fn watch() -> Result {
    const HOUR: u64 = 3_600_000;
    if is("time") && clock::now() / HOUR % 24 < 12 {
        return Ok(()); // in the morning there are few customers to measure
    }
    let watched = metrics::watch("shop", "error-rate < 1%", 5);
    if is("ignores") { Ok(()) } else { watched }
}

/// The phase is missing in the step's name, so this is never so.
fn confirm() -> Result {
    if context::completed("install") { Ok(()) } else { fail("2.0 is not installed") }
}

fn announce() -> Result {
    report::note("2.0 runs");
    Ok(())
}

fn restore() -> Result {
    if is("checks-late") {
        restore_program()?;
        nobody_uses_it()?;
        return restore_data();
    }
    if !is("restores-first") {
        nobody_uses_it()?;
    }
    restore_data()?;
    restore_program()
}

fn nobody_uses_it() -> Result {
    match database::activity("orders")?.first() {
        Some(session) => fail(format!("{} uses the database", session.who)),
        None => Ok(()),
    }
}

fn restore_data() -> Result {
    let restored = backup::restore("orders");
    if is("swallows") { Ok(()) } else { restored.map(drop) }
}

fn restore_program() -> Result {
    if is("forgets") || is("forgets-at-times") && !context::completed("upgrade/install") {
        return Ok(());
    }
    backup::restore("app").map(drop)
}

fn reopen() -> Result {
    database::unfence("orders")?;
    start()
}

fn fail<T>(message: impl Into<String>) -> Result<T> {
    Err(Error { kind: Kind::Failed, message: message.into() })
}
