//! Writes to a database, attaches another, loads code and sets what SQLite does, by a query that may only look.
#![no_main]
use attacks::*;

struct Script;
export!(Script);

impl Attack for Script {
    fn run(_: &str) -> Result {
        let query = |sql| database::query("orders", sql).map(drop);
        told(vec![
            ("insert", query("INSERT INTO items VALUES (1)")),
            ("delete and return", query("DELETE FROM items RETURNING *")),
            ("update behind a table expression", query("WITH x AS (SELECT 1) UPDATE items SET name = 1")),
            ("drop", query("DROP TABLE items")),
            ("a table of its own", query("CREATE TEMP TABLE x (y)")),
            ("attach", query("ATTACH '/tmp/owned-by-a-script' AS x")),
            ("a copy elsewhere", query("VACUUM INTO '/tmp/owned-by-a-script'")),
            ("vacuum", query("VACUUM")),
            ("a transaction", query("BEGIN EXCLUSIVE")),
            ("two statements", query("SELECT 1; DELETE FROM items")),
            ("load code", query("SELECT load_extension('/tmp/owned-by-a-script')")),
            ("read a file", query("SELECT readfile('/etc/passwd')")),
            ("write a file", query("SELECT writefile('/tmp/owned-by-a-script', 1)")),
            ("edit the schema", query("PRAGMA writable_schema = ON")),
            ("set the journal", query("PRAGMA journal_mode = OFF")),
            ("set the version", query("PRAGMA user_version = 7")),
        ])
    }
}
