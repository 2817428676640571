//! Plans steps that wait for each other.
#![no_main]
use attacks::*;

struct Script;
export!(Script);

impl Attack for Script {
    fn plan() -> Result<Vec<Step>> {
        Ok(vec![step("a", &["c"]), step("b", &["a"]), step("c", &["b"])])
    }
}
