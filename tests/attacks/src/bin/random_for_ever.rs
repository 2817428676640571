//! Has the host compute instead of itself: random bytes without end.
#![no_main]
use attacks::*;

struct Script;
export!(Script);

impl Attack for Script {
    fn run(_: &str) -> Result {
        loop {
            wasi::random::random::get_random_bytes(1 << 20);
        }
    }
}
