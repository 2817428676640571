//! Runs a tool that prints a megabyte again and again, so that the journal grows by its answers.
#![no_main]
use attacks::*;

struct Script;
export!(Script);

impl Attack for Script {
    fn run(_: &str) -> Result {
        loop {
            tool::run("loud")?;
        }
    }
}
