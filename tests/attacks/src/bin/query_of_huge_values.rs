//! Has a database make values of a GB.
#![no_main]
use attacks::*;

struct Script;
export!(Script);

impl Attack for Script {
    fn run(_: &str) -> Result {
        let query = |sql| database::query("orders", sql).map(drop);
        told(vec![
            ("zeroes", query("SELECT zeroblob(1000000000)")),
            ("chance", query("SELECT length(randomblob(1000000000))")),
            ("a format", query("SELECT length(printf('%.*c', 1000000000, 'x'))")),
            ("a replacement", query("SELECT length(replace(hex(zeroblob(100000)), '0', hex(zeroblob(100000))))")),
            (
                "a group",
                query(
                    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 100000) SELECT group_concat(hex(zeroblob(10000))) FROM n",
                ),
            ),
            ("as large as may be", query("SELECT hex(zeroblob(524288))")),
        ])
    }
}
