//! Asks people, two of them at once, and notes what they answer.
wit_bindgen::generate!({ path: "../../../wit", world: "script" });

use backout::host::{types::*, *};
use exports::backout::host::life_cycle::{Guest, Risk, Step};

type Result<T = ()> = std::result::Result<T, Error>;

struct People;
export!(People);

impl Guest for People {
    fn assess() -> Result<Vec<Risk>> {
        Ok(vec![])
    }

    fn plan(phase: Phase) -> Result<Vec<Step>> {
        let roles: &[&str] = match phase {
            Phase::Prepare => &["owner", "database administrator"],
            Phase::Upgrade => &["operator"],
            Phase::Rollback | Phase::Verify => &[],
        };
        let step = |role: &&str| Step {
            name: role.replace(' ', "-"),
            title: format!("Ask the {role}"),
            estimate: 1,
            roles: vec![role.to_string()],
            after: Some(vec![]),
            attempts: 1,
        };
        Ok(roles.iter().map(step).collect())
    }

    fn run(_: Phase, step: String) -> Result {
        let role = step.replace('-', " ");
        if role == "operator" {
            // Long enough to type something before the question is there.
            log::warn("there is no question yet");
            clock::sleep(3);
        }
        match approval::ask(&format!("May this go on, {role}?"), &role) {
            Ok(name) => report::note(&format!("{role}: yes, says {name}")),
            Err(error) => report::note(&format!("{role}: {:?}, {}", error.kind, error.message)),
        }
        Ok(())
    }
}
