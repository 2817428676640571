//! Plans two hundred steps that need not wait for each other, and fills the memory of each.
#![no_main]
use attacks::*;

struct Script;
export!(Script);

impl Attack for Script {
    fn plan() -> Result<Vec<Step>> {
        Ok((0..200).map(|n| step(&format!("s{n}"), &[])).collect())
    }

    fn run(_: &str) -> Result {
        let hoard = black_box(vec![1_u8; 6 << 20]);
        // Long enough for all of them to be there at once.
        clock::sleep(1);
        fail(format!("kept {} bytes", hoard.len()))
    }
}
