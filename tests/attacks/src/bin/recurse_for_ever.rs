//! Calls itself without end.
#![no_main]
use attacks::*;

struct Script;
export!(Script);

impl Attack for Script {
    fn run(_: &str) -> Result {
        fail(format!("came back from {}", dive(0)))
    }
}

#[allow(unconditional_recursion)]
fn dive(depth: u32) -> u32 {
    // The compiler may not make a loop of it.
    black_box(dive(black_box(depth + 1))) ^ depth
}
