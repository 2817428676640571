//! Asks WASI for a GiB of random bytes.
#![no_main]
use attacks::*;

struct Script;
export!(Script);

impl Attack for Script {
    fn run(_: &str) -> Result {
        fail(format!("got {}", wasi::random::random::get_random_bytes(1 << 30).len()))
    }
}
