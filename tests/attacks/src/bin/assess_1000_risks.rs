//! Sees a thousand risks, each told at length.
#![no_main]
use attacks::*;

struct Script;
export!(Script);

impl Attack for Script {
    fn assess() -> Result<Vec<Risk>> {
        let risk = || Risk { severity: Severity::Low, subject: "data".into(), detail: "x".repeat(1_000) };
        Ok((0..1_000).map(|_| risk()).collect())
    }
}
