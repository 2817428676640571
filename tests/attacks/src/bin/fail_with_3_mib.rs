//! Fails with an error text of 3 MiB.
#![no_main]
use attacks::*;

struct Script;
export!(Script);

impl Attack for Script {
    fn run(_: &str) -> Result {
        fail("x".repeat(3 << 20))
    }
}
