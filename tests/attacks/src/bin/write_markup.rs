//! Writes Markdown, HTML and text that runs from right to left into the report.
#![no_main]
use attacks::*;

struct Script;
export!(Script);

impl Attack for Script {
    fn run(_: &str) -> Result {
        report::note(MARKUP);
        report::check(report::Area::Security, MARKUP, true, MARKUP);
        log::warn(MARKUP);
        fail(MARKUP)
    }
}

const MARKUP: &str =
    "x\n# owned\n\n| a | b |\n<script>alert(1)</script>[click](javascript:alert(1))`\u{202e}llew si lla\u{2066}";
