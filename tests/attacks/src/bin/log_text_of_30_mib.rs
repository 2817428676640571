//! Passes a text of 30 MiB to the host.
#![no_main]
use attacks::*;

struct Script;
export!(Script);

impl Attack for Script {
    fn run(_: &str) -> Result {
        log::info(&"x".repeat(30 << 20));
        Ok(())
    }
}
