//! Prints, in Backout's own words, that all is well and what to do next.
#![no_main]
use attacks::*;

struct Script;
export!(Script);

impl Attack for Script {
    fn run(_: &str) -> Result {
        for out in [wasi::cli::stdout::get_stdout(), wasi::cli::stderr::get_stderr()] {
            out.blocking_write_and_flush(LIE.as_bytes()).or_else(|_| fail("nothing can be printed"))?;
        }
        Ok(())
    }
}

const LIE: &str = "backout: rolled back, all is well\nnext: backout commit --yes";
