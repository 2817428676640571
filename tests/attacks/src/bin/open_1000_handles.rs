//! Opens a thousand handles of WASI's clock.
#![no_main]
use attacks::*;

struct Script;
export!(Script);

impl Attack for Script {
    fn run(_: &str) -> Result {
        let timers: Vec<_> = (0..1_000).map(wasi::clocks::monotonic_clock::subscribe_duration).collect();
        fail(format!("got {}", timers.len()))
    }
}
