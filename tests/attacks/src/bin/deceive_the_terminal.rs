//! Writes control characters into its log, its error, and title and role of its step: to clear the screen and to say that all is well.
#![no_main]
use attacks::*;

struct Script;
export!(Script);

impl Attack for Script {
    fn plan() -> Result<Vec<Step>> {
        Ok(vec![Step { title: LIE.into(), roles: vec![LIE.into()], ..step(STEP, &[]) }])
    }
    fn run(_: &str) -> Result {
        log::warn(LIE);
        report::note(LIE);
        fail(LIE)
    }
}

const LIE: &str = "\u{1b}]0;owned\u{7}\u{1b}[2J\rdone\n✓ all is well\u{9b}2K";
