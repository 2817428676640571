//! Reads, lists, writes, links and installs through `..`, absolute paths and links that lead out of the tree.
#![no_main]
use attacks::*;

struct Script;
export!(Script);

impl Attack for Script {
    fn run(_: &str) -> Result {
        let read = |path| files::read("app", path).map(drop);
        let write = |path| files::write("app", path, b"owned");
        told(vec![
            ("read ../secret", read("../secret")),
            ("read sub/../../secret", read("sub/../../secret")),
            ("read /etc/passwd", read("/etc/passwd")),
            ("read a link that leads out", read("out")),
            ("read through a folder link that leads out", read("outside/secret")),
            ("read an absolute link", read("absolute")),
            ("list ..", files::list("app", "..").map(drop)),
            ("list /", files::list("app", "/").map(drop)),
            ("list a link that leads out", files::list("app", "outside").map(drop)),
            ("write ../owned", write("../owned")),
            ("write /tmp/owned-by-a-script", write("/tmp/owned-by-a-script")),
            ("write through a folder link that leads out", write("outside/owned")),
            ("link to ..", files::link("app", "way-out", "..")),
            ("link to ../secret", files::link("app", "way-out", "../secret")),
            ("link to /etc", files::link("app", "way-out", "/etc")),
            ("link from outside", files::link("app", "../way-in", "sub")),
            ("install outside", files::install("app", "../owned", "gift")),
        ])
    }
}
