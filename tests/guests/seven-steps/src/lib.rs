//! A whole upgrade of a product with a database and a folder, and the way back as runbooks have it, step by step.
wit_bindgen::generate!({ path: "../../../wit", world: "script" });

use backout::host::{types::*, *};
use exports::backout::host::life_cycle::{Guest, Risk, Step};

type Result<T = ()> = std::result::Result<T, Error>;

struct SevenSteps;
export!(SevenSteps);

impl Guest for SevenSteps {
    fn assess() -> Result<Vec<Risk>> {
        Ok(vec![])
    }

    fn plan(phase: Phase) -> Result<Vec<Step>> {
        let names: &[&str] = match phase {
            Phase::Prepare => &["copy"],
            Phase::Upgrade => &["close", "install", "open"],
            Phase::Rollback => &["stop", "fence", "data", "files", "unfence", "start", "verify"],
            Phase::Verify => &[],
        };
        let step = |name: &&str| Step {
            name: name.to_string(),
            title: format!("Do `{name}`"),
            estimate: 1,
            roles: vec![],
            after: None,
            attempts: 1,
        };
        Ok(names.iter().map(step).collect())
    }

    fn run(_: Phase, step: String) -> Result {
        match step.as_str() {
            "copy" => ["orders", "config"].iter().try_for_each(|resource| backup::take(resource).map(drop)),
            "close" => {
                service::stop("shop")?;
                database::fence("orders", 5)?;
                backup::refresh().map(drop)
            }
            "install" => {
                database::execute("orders", "UPDATE orders SET total = total + 1 WHERE id <= 1000")?;
                files::write("config", "release", b"2.0")
            }
            "open" => {
                database::unfence("orders")?;
                service::start("shop")?;
                answers("2.0")
            }
            "stop" => service::stop("shop"),
            "fence" => database::fence("orders", 5),
            "data" => backup::restore("orders").map(drop),
            "files" => backup::restore("config").map(drop),
            "unfence" => database::unfence("orders"),
            "start" => service::start("shop"),
            _ => answers("1.0"),
        }
    }
}

fn answers(release: &str) -> Result {
    probe::until("shop", "/", &format!("status = 200 and body contains \"release {release}\""), 20)
}
