//! Breaks down in the middle of an upgrade.
#![no_main]
use attacks::*;

struct Script;
export!(Script);

impl Attack for Script {
    const PHASE: Phase = Phase::Upgrade;

    fn run(_: &str) -> Result {
        panic!("no way forward at {}", 42)
    }
}
