//! Computes without end, and calls the host so often that it never computes for long.
#![no_main]
use attacks::*;

struct Script;
export!(Script);

impl Attack for Script {
    fn run(_: &str) -> Result {
        loop {
            (0..50_000).for_each(|n| {
                black_box(n);
            });
            wasi::random::random::get_random_bytes(1);
        }
    }
}
