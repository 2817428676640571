//! Prints without end.
#![no_main]
use attacks::*;

struct Script;
export!(Script);

impl Attack for Script {
    fn run(_: &str) -> Result {
        let out = wasi::cli::stdout::get_stdout();
        while out.blocking_write_and_flush(&[b'x'; 4096]).is_ok() {}
        fail("the output is closed")
    }
}
