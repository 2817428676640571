//! Breaks down.
#![no_main]
use attacks::*;

struct Script;
export!(Script);

impl Attack for Script {
    fn run(_: &str) -> Result {
        panic!("no way forward at {}", 42)
    }
}
