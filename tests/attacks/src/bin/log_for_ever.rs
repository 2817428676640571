//! Logs without end.
#![no_main]
use attacks::*;

struct Script;
export!(Script);

impl Attack for Script {
    fn run(_: &str) -> Result {
        loop {
            log::info(&"all work and no play ".repeat(50));
        }
    }
}
