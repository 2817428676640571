//! Asks for a setting by a name of a megabyte, and breaks down on the answer, which names it.
#![no_main]
use attacks::*;

struct Script;
export!(Script);

impl Attack for Script {
    fn run(_: &str) -> Result {
        fail(context::setting(&"x".repeat(1 << 20)))
    }
}
