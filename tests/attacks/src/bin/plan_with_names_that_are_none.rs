//! Plans steps whose names are a path, a control sequence, a text of a megabyte.
#![no_main]
use attacks::*;

struct Script;
export!(Script);

impl Attack for Script {
    fn plan() -> Result<Vec<Step>> {
        Ok(vec![step("../../etc", &[]), step("\u{1b}[2J", &[]), step(&"n".repeat(1_000_000), &[])])
    }
}
