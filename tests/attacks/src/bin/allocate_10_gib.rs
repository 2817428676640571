//! Fills memory, up to 10 GiB.
#![no_main]
use attacks::*;

struct Script;
export!(Script);

impl Attack for Script {
    fn run(_: &str) -> Result {
        const PIECE: usize = 1 << 20;
        let mut hoard = Vec::new();
        while hoard.len() * PIECE / 1024 < 10 << 20 {
            hoard.push(black_box(vec![1_u8; PIECE]));
        }
        fail("got all of it")
    }
}
