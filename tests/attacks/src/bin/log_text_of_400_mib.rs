//! Passes a text of 400 MiB to the host.
#![no_main]
use attacks::*;

struct Script;
export!(Script);

impl Attack for Script {
    fn run(_: &str) -> Result {
        log::info(&"x".repeat(400 << 20));
        Ok(())
    }
}
