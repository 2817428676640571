//! Reads a file of half a megabyte again and again, so that the journal grows.
#![no_main]
use attacks::*;

struct Script;
export!(Script);

impl Attack for Script {
    fn run(_: &str) -> Result {
        loop {
            files::read("app", "large")?;
        }
    }
}
