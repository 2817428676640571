//! Plans a step of four billion attempts, 136 years, a title of a megabyte and a thousand roles.
#![no_main]
use attacks::*;

struct Script;
export!(Script);

impl Attack for Script {
    fn plan() -> Result<Vec<Step>> {
        let (title, roles) = ("x".repeat(1_000_000), (0..1_000).map(|n| format!("r{n}")).collect());
        Ok(vec![Step { attempts: u32::MAX, estimate: u32::MAX, title, roles, ..step(STEP, &[]) }])
    }
}
