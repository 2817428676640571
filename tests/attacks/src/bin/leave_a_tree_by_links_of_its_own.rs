//! Plants links that lead through another link and back, to point that other one elsewhere afterwards.
#![no_main]
use attacks::*;

struct Script;
export!(Script);

impl Attack for Script {
    fn run(_: &str) -> Result {
        told(vec![
            ("back behind a link", files::link("app", "way", "current/..")),
            ("back and down again", files::link("app", "way", "current/../file")),
            ("further behind a link", files::link("app", "way", "current/../sub/file")),
            ("from a folder", files::link("app", "sub/way", "../current/..")),
        ])
    }
}
