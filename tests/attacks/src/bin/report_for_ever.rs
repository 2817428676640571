//! Writes remarks into the report without end.
#![no_main]
use attacks::*;

struct Script;
export!(Script);

impl Attack for Script {
    fn run(_: &str) -> Result {
        loop {
            report::note(&"all work and no play ".repeat(50));
        }
    }
}
