//! Asks WASI to look at one timer a million times at once.
#![no_main]
use attacks::*;

struct Script;
export!(Script);

impl Attack for Script {
    fn run(_: &str) -> Result {
        let timer = wasi::clocks::monotonic_clock::subscribe_duration(1);
        let timers = vec![&timer; 1_000_000];
        fail(format!("got {}", wasi::io::poll::poll(&timers).len()))
    }
}
