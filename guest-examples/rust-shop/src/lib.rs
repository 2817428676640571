//! Takes Shop from 1.x to 2.0, and back.
mod backout;
use backout::*;

const HEALTHY: &str = "error-rate < 1% and p95 <= 5 * baseline";

struct Shop;
export!(Shop with_types_in backout);

impl Script for Shop {
    fn assess() -> Result<Vec<Risk>> {
        let notes = database::query("orders", "select count(*) from orders where note <> ''")?;
        Ok(vec![
            risk(Severity::High, "data", format!("2.0 drops orders.note; {} orders have one", notes[0][0])),
            risk(Severity::Low, "availability", "the shop is closed while its data is migrated"),
        ])
    }

    fn steps(phase: Phase) -> Vec<Step> {
        match phase {
            Phase::Prepare => vec![
                step("baseline", "Record how 1.0 behaves", 3, || metrics::baseline("shop", 3)),
                step("copy-data", "Copy the database, prove the copy", 2, || take(&["orders"])).after(&["baseline"]),
                step("copy-files", "Copy program and configuration", 2, || take(&["app", "config"]))
                    .after(&["baseline"]),
            ],
            Phase::Upgrade => vec![
                step("close", "Close the shop, bring the copies up to date", 3, close),
                step("install", "Install 2.0, migrate the database", 3, install).roles(&["dba"]),
                step("start-new", "Start 2.0", 2, start),
                step("watch", "Watch 2.0", setting("watch"), || metrics::watch("shop", HEALTHY, setting("watch"))),
            ],
            Phase::Rollback => vec![
                step("stop", "Stop 2.0", 2, || service::stop("shop")),
                step("restore", "Put 1.0 and its data back", 2, restore).roles(&["dba"]),
                step("compare", "Data is as it was when the shop closed", 2, compare),
                step("start-old", "Start 1.0", 2, start),
            ],
            Phase::Verify => at_once(vec![
                step("answers", "Orders can be read", 1, || {
                    probe::check("shop", "/orders/1", "status = 200 and json total > 0")
                }),
                step("headers", "Security headers are set", 1, || {
                    probe::check("shop", "/orders/1", "header x-frame-options = DENY")
                }),
                step("load", "Fast enough under load", setting("load"), || {
                    let limits = "p95 < 500ms and errors < 1%";
                    probe::check_load("shop", "/orders", setting("clients"), setting("load"), limits)
                }),
                step("log-is-clean", "Nothing bad in the log", 1, || {
                    logs::check("shop", &strings(&["panic", "ERROR"]))
                }),
            ]),
        }
    }
}

fn take(resources: &[&str]) -> Result {
    resources.iter().try_for_each(|resource| backup::take(resource).map(drop))
}

fn close() -> Result {
    service::stop("shop")?;
    database::fence("orders", 30)?;
    backup::refresh()?;
    Ok(())
}

fn install() -> Result {
    files::install("app", "versions/2.0", "shop-2.0")?;
    files::link("app", "current", "versions/2.0")?;
    let config = String::from_utf8_lossy(&files::read("config", "shop.toml")?).into_owned();
    if !config.contains("theme =") {
        files::write("config", "shop.toml", format!("{config}theme = \"2.0\"\n").as_bytes())?;
    }
    database::unfence("orders")?; // the migration opens the database itself
    log::info(&tool::run("migrate")?);
    Ok(())
}

fn start() -> Result {
    database::unfence("orders")?;
    logs::mark("shop")?;
    service::start("shop")?;
    probe::until("shop", "/health", "status = 200", 20)
}

fn restore() -> Result {
    ["orders", "app", "config"].iter().try_for_each(|resource| backup::restore(resource).map(drop))
}

/// Until `close` is done customers go on writing: the copies are behind, and `restore` has left the data alone.
fn compare() -> Result {
    if context::completed("upgrade/close") { database::check_unchanged("orders") } else { Ok(()) }
}
