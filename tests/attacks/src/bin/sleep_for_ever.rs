//! Sleeps for 136 years.
#![no_main]
use attacks::*;

struct Script;
export!(Script);

impl Attack for Script {
    fn run(_: &str) -> Result {
        clock::sleep(u32::MAX);
        Ok(())
    }
}
