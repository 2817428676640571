//! Plans two steps of one name.
#![no_main]
use attacks::*;

struct Script;
export!(Script);

impl Attack for Script {
    fn plan() -> Result<Vec<Step>> {
        Ok(vec![step("a", &[]), step("a", &[])])
    }
}
