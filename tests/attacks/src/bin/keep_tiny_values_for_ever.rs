//! Keeps ever more tiny values between steps, each of which has to be made durable.
#![no_main]
use attacks::*;

struct Script;
export!(Script);

impl Attack for Script {
    fn run(_: &str) -> Result {
        for n in 0_u64.. {
            store::set(&format!("{n:x}"), "");
        }
        Ok(())
    }
}
