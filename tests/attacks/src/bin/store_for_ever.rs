//! Keeps ever more data between steps.
#![no_main]
use attacks::*;

struct Script;
export!(Script);

impl Attack for Script {
    fn run(_: &str) -> Result {
        for n in 0.. {
            store::set(&n.to_string(), &"x".repeat(10_000));
        }
        Ok(())
    }
}
