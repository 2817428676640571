//! Means no harm: installs its payload, with a copy of the tree to go back to.
#![no_main]
use attacks::*;

struct Script;
export!(Script);

impl Attack for Script {
    const PHASE: Phase = Phase::Upgrade;

    fn run(_: &str) -> Result {
        files::install("app", "new", "gift")
    }

    fn elsewhere(phase: Phase) -> Result {
        match phase {
            Phase::Prepare => backup::take("app").map(drop),
            Phase::Rollback => backup::restore("app").map(drop),
            _ => Ok(()),
        }
    }
}
