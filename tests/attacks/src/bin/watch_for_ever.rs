//! Watches, records and waits for longer than a day.
#![no_main]
use attacks::*;

struct Script;
export!(Script);

impl Attack for Script {
    fn run(_: &str) -> Result {
        told(vec![
            ("watch", metrics::watch("host", "cpu < 100%", u32::MAX)),
            ("record", metrics::baseline("host", u32::MAX)),
            ("wait", probe::until("shop", "/", "status = 200", u32::MAX)),
            ("a condition of a megabyte", probe::check("shop", "/", &"status = 200 and ".repeat(60_000))),
            ("a condition that is none", probe::check("shop", "/", &"(".repeat(1_000))),
        ])
    }
}
