//! Plans a step after one that there is not.
#![no_main]
use attacks::*;

struct Script;
export!(Script);

impl Attack for Script {
    fn plan() -> Result<Vec<Step>> {
        Ok(vec![step("a", &["nobody"])])
    }
}
