//! Plans steps after two hundred unknown ones, each with a name of ten KiB.
#![no_main]
use attacks::*;

struct Script;
export!(Script);

impl Attack for Script {
    fn plan() -> Result<Vec<Step>> {
        let unknown: Vec<String> = (0..200).map(|n| format!("{n}-{}", "\u{1b}".repeat(10 << 10))).collect();
        let unknown: Vec<&str> = unknown.iter().map(String::as_str).collect();
        Ok(vec![step("a", &unknown)])
    }
}
