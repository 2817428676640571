//! Waits two hundred times, twice as long together as it may compute.
#![no_main]
use attacks::*;

struct Script;
export!(Script);

impl Attack for Script {
    fn run(_: &str) -> Result {
        for _ in 0..200 {
            wasi::clocks::monotonic_clock::subscribe_duration(10_000_000).block();
        }
        Ok(())
    }
}
