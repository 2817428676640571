//! Reads files by names with a zero byte, no name, very long names.
#![no_main]
use attacks::*;

struct Script;
export!(Script);

impl Attack for Script {
    fn run(_: &str) -> Result {
        let read = |path| files::read("app", path).map(drop);
        told(vec![
            ("a nul", read("fi\0le")),
            ("nothing", read("")),
            ("the tree itself", read(".")),
            ("a dot", read("./file")),
            ("two slashes", read("sub//file")),
            ("a long name", read(&"n".repeat(300))),
            ("a long path", read(&"n/".repeat(100_000))),
        ])
    }
}
