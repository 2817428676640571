//! Draws random numbers in one step, in another, and when that is tried again, and looks for one that it has drawn before.
#![no_main]
use attacks::*;

struct Script;
export!(Script);

impl Attack for Script {
    fn plan() -> Result<Vec<Step>> {
        Ok(vec![step(STEP, &[]), Step { attempts: 2, ..step("another", &[STEP]) }])
    }
    fn run(_: &str) -> Result {
        let now = wasi::clocks::wall_clock::now();
        log::info(&format!("{}", now.seconds * 1000 + u64::from(now.nanoseconds / 1_000_000)));
        let number = wasi::random::random::get_random_bytes(16);
        let drawn = store::get("drawn").unwrap_or_default();
        if drawn.split(' ').any(|before| before == format!("{number:?}").replace(' ', "")) {
            return fail("GOT THROUGH: the same number again");
        }
        store::set("drawn", &format!("{drawn} {}", format!("{number:?}").replace(' ', "")));
        match drawn.split(' ').filter(|before| !before.is_empty()).count() {
            1 => Err(Error { kind: Kind::Unavailable, message: "not yet".into() }),
            _ => Ok(()),
        }
    }
}
