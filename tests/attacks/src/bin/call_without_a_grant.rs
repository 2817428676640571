//! Stops a service, copies a tree, runs a tool, reads a tree and a database for which it has no grant, some of which exist and some of which do not.
#![no_main]
use attacks::*;

struct Script;
export!(Script);

impl Attack for Script {
    fn run(_: &str) -> Result {
        told(vec![
            ("a service of the site", service::stop("shop")),
            ("no service at all", service::stop("nobody")),
            ("a tree of the site", backup::take("data").map(drop)),
            ("no tree at all", backup::take("date").map(drop)),
            ("a tool of the site", tool::run("migrate").map(drop)),
            ("no tool at all", tool::run("emigrate").map(drop)),
            ("a label that is a path", files::read("../app", "file").map(drop)),
            ("a right on a tree of the site", files::write("data", "file", b"owned")),
        ])
    }
}
