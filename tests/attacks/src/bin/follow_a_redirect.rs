//! Has the product send a request on to another host, and reports what came back.
#![no_main]
use attacks::*;

struct Script;
export!(Script);

impl Attack for Script {
    fn run(_: &str) -> Result {
        let answer = probe::get("shop", "/")?;
        fail(format!("status {}, body {:?}", answer.status, answer.body))
    }
}
