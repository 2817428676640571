//! Ends itself with a success in the middle of a step.
#![no_main]
use attacks::*;

struct Script;
export!(Script);

impl Attack for Script {
    fn run(_: &str) -> Result {
        wasi::cli::exit::exit(Ok(()));
        Ok(())
    }
}
