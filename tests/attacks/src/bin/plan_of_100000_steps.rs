//! Plans a hundred thousand steps.
#![no_main]
use attacks::*;

struct Script;
export!(Script);

impl Attack for Script {
    fn plan() -> Result<Vec<Step>> {
        Ok((0..100_000).map(|n| step(&format!("s{n}"), &[])).collect())
    }
}
