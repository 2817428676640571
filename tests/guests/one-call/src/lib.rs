//! Does in its upgrade what its settings say, so that a test can end Backout in the middle of it; then it counts.
wit_bindgen::generate!({ path: "../../../wit", world: "script" });

use backout::host::{types::*, *};
use exports::backout::host::life_cycle::{Guest, Risk, Step};

type Result<T = ()> = std::result::Result<T, Error>;

struct OneCall;
export!(OneCall);

impl Guest for OneCall {
    fn assess() -> Result<Vec<Risk>> {
        Ok(vec![])
    }

    fn plan(phase: Phase) -> Result<Vec<Step>> {
        let names: &[&str] = match phase {
            Phase::Prepare => &["take"],
            Phase::Upgrade => &["act", "after"],
            Phase::Rollback => &["back"],
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
            "take" => {
                backup::take("orders")?;
                backup::take("app").map(drop)
            }
            "act" => act(),
            "after" => files::write("app", "after", b"done\n"),
            _ => {
                backup::restore("orders")?;
                backup::restore("app").map(drop)
            }
        }
    }
}

fn act() -> Result {
    let came = match context::setting("call").as_str() {
        "execute" => database::execute("orders", &context::setting("text"))?.to_string(),
        "restart" => service::restart("web").map(|()| "restarted".to_owned())?,
        "reload" => service::reload("web").map(|()| "reloaded".to_owned())?,
        "stop" => service::stop("web").map(|()| "stopped".to_owned())?,
        "run" => tool::run("work")?,
        "install" => files::install("app", "new", "archive").map(|()| "installed".to_owned())?,
        other => other.to_owned(),
    };
    report::note(&format!("it came to: {came}"));
    Ok(())
}
