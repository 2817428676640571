//! Fences a database, and never thinks of it again.
wit_bindgen::generate!({ path: "../../../wit", world: "script" });

use backout::host::{types::*, *};
use exports::backout::host::life_cycle::{Guest, Risk, Step};

type Result<T = ()> = std::result::Result<T, Error>;

struct Forgetful;
export!(Forgetful);

impl Guest for Forgetful {
    fn assess() -> Result<Vec<Risk>> {
        Ok(vec![])
    }

    fn plan(phase: Phase) -> Result<Vec<Step>> {
        let names: &[&str] = match phase {
            Phase::Prepare => &["take"],
            Phase::Upgrade => &["shut", "change", "meanwhile"],
            Phase::Rollback => &["restore"],
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
                if_granted(backup::take("config"))
            }
            "shut" => {
                database::fence("orders", 30)?;
                backup::refresh().map(drop)
            }
            "change" => if_granted(files::write("config", "note.txt", b"2.0\n")),
            "meanwhile" => tool::run("meanwhile").map(drop),
            _ => {
                backup::restore("orders")?;
                if_granted(backup::restore("config"))
            }
        }
    }
}

fn if_granted<T>(result: Result<T>) -> Result {
    match result {
        Err(Error { kind: Kind::Denied, .. }) => Ok(()),
        result => result.map(drop),
    }
}
