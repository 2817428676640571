//! Computes without end while it is asked for its plan.
#![no_main]
use attacks::*;

struct Script;
export!(Script);

impl Attack for Script {
    fn plan() -> Result<Vec<Step>> {
        loop {
            black_box(());
        }
    }
}
