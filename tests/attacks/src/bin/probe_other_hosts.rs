//! Has requests made to other hosts, to paths outside of the site's address, and with headers of its own.
#![no_main]
use attacks::*;

struct Script;
export!(Script);

impl Attack for Script {
    fn run(_: &str) -> Result {
        let get = |path: &str| probe::get("shop", path).map(drop);
        told(vec![
            ("another host", get("http://evil.test/")),
            ("another port", get(":22/")),
            ("another user", get("@evil.test/")),
            ("above", get("/../secret")),
            ("above in disguise", get("/%2e%2e/secret")),
            ("a header", get("/ HTTP/1.1\r\nhost: evil.test\r\n\r\n")),
            ("a load", probe::check_load("shop", "/", u32::MAX, 60, "errors < 1%")),
        ])
    }
}
