//! Passes a file of 30 MiB to the host.
#![no_main]
use attacks::*;

struct Script;
export!(Script);

impl Attack for Script {
    fn run(_: &str) -> Result {
        files::write("app", "long", &vec![1; 30 << 20])
    }
}
