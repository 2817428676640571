//! Sleeps for 584 years on a timer of WASI.
#![no_main]
use attacks::*;

struct Script;
export!(Script);

impl Attack for Script {
    fn run(_: &str) -> Result {
        wasi::clocks::monotonic_clock::subscribe_duration(u64::MAX).block();
        Ok(())
    }
}
