//! Does what the setting of each phase says. Steps stand one after the other, parted by `;`, each a list of words: its name, how
//! often it is tried, after which steps (`a,b`; `-`: none; `^`: the one before it), and what it does: `tool:LABEL`, `start:LABEL`,
//! `stop:LABEL`, `restart:LABEL`, `status:LABEL`, `get:KEY`, `set:KEY`, `keep:KEY:BYTES`, `sleep:SECONDS`, `now`, `fail:KIND:N` (in
//! its first N attempts), `fail-forward:KIND:N` (only as long as nothing was rolled back), and what never ends by itself:
//! `compute`, `recurse`, `allocate`, `ask`, `log`, `store`, `repeat:LABEL`.
wit_bindgen::generate!({ path: "../../../wit", world: "script" });

use backout::host::{service::Status, types::*, *};
use exports::backout::host::life_cycle::{Guest, Risk, Step};
use std::hint::black_box;

type Result<T = ()> = std::result::Result<T, Error>;

struct Scripted;
export!(Scripted);

impl Guest for Scripted {
    fn assess() -> Result<Vec<Risk>> {
        Ok(vec![])
    }

    fn plan(phase: Phase) -> Result<Vec<Step>> {
        let text = setting(phase);
        let steps = text.split(';').map(|line| line.split_whitespace().collect::<Vec<_>>());
        Ok(steps.filter(|words| !words.is_empty()).map(|words| step(&words)).collect())
    }

    fn run(phase: Phase, name: String) -> Result {
        std::panic::set_hook(Box::new(|panic| log::warn(&panic.to_string())));
        let text = setting(phase);
        let mut steps = text.split(';').map(|line| line.split_whitespace().collect::<Vec<_>>());
        let words = steps.find(|words| words.first() == Some(&name.as_str())).expect("a step of the plan");
        let mut heard = Heard(0xcbf2_9ce4_8422_2325);
        words[3..].iter().try_for_each(|word| act(word, &mut heard))
    }
}

fn setting(phase: Phase) -> String {
    context::setting(match phase {
        Phase::Prepare => "prepare",
        Phase::Upgrade => "upgrade",
        Phase::Rollback => "rollback",
        Phase::Verify => "verify",
    })
}

fn step(words: &[&str]) -> Step {
    let after = match words[2] {
        "^" => None,
        "-" => Some(vec![]),
        names => Some(names.split(',').map(Into::into).collect()),
    };
    let (name, attempts) = (words[0].to_owned(), words[1].parse().expect("a number of attempts"));
    Step { title: format!("Do {name}"), name, estimate: 1, roles: vec![], after, attempts }
}

/// A sum of every answer so far: what is written by it is something else as soon as one answer is.
struct Heard(u64);

impl Heard {
    fn hears(&mut self, text: &str) {
        self.0 = text.bytes().fold(self.0, |sum, byte| (sum ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3));
    }
    /// What nobody can say for certain is no reason to give up.
    fn hears_answer<T: ToString>(&mut self, answer: Result<T>) -> Result {
        match answer {
            Ok(answer) => self.hears(&answer.to_string()),
            Err(error) if error.kind == Kind::Inconclusive => self.hears("inconclusive"),
            Err(error) => return Err(error),
        }
        Ok(())
    }
}

fn act(word: &str, heard: &mut Heard) -> Result {
    let mut parts = word.split(':');
    let action = parts.next().unwrap_or_default();
    let what = parts.next().unwrap_or_default();
    let done = |answer: Result| answer.map(|()| "done");
    match action {
        "tool" => heard.hears_answer(tool::run(what))?,
        "start" => heard.hears_answer(done(service::start(what)))?,
        "stop" => heard.hears_answer(done(service::stop(what)))?,
        "restart" => heard.hears_answer(done(service::restart(what)))?,
        "status" => heard.hears(if service::get_status(what)? == Status::Running { "running" } else { "not running" }),
        "get" => heard.hears(&store::get(what).unwrap_or_default()),
        "set" => store::set(what, &format!("{:016x}", heard.0)),
        "keep" => {
            let bytes = parts.next().and_then(|bytes| bytes.parse().ok()).expect("a number of bytes");
            store::set(what, &"x".repeat(bytes));
        }
        "sleep" => clock::sleep(what.parse().expect("seconds")),
        "now" => heard.hears(&clock::now().to_string()),
        "fail" | "fail-forward" => {
            let run = context::current();
            let times: u32 = parts.next().and_then(|times| times.parse().ok()).expect("a number of attempts");
            if run.attempt <= times && !(action == "fail-forward" && run.rolled_back) {
                return Err(Error { kind: kind(what), message: format!("attempt {} fails", run.attempt) });
            }
        }
        "compute" => loop {
            heard.0 = black_box(heard.0.wrapping_add(1));
        },
        "recurse" => heard.0 = deeper(heard.0),
        "allocate" => loop {
            black_box(vec![1u8; 1 << 20]).leak();
        },
        "ask" => loop {
            context::current();
        },
        "log" => loop {
            log::info("a line of some length");
        },
        "store" => loop {
            heard.0 += 1;
            store::set(&heard.0.to_string(), &"x".repeat(500));
        },
        "repeat" => loop {
            tool::run(what)?;
        },
        other => panic!("`{other}` is no action"),
    }
    Ok(())
}

fn deeper(n: u64) -> u64 {
    black_box(n) + if black_box(n) == 0 { 0 } else { deeper(black_box(n | 1)) }
}

fn kind(name: &str) -> Kind {
    match name {
        "unavailable" => Kind::Unavailable,
        "timed-out" => Kind::TimedOut,
        "conflict" => Kind::Conflict,
        _ => Kind::Failed,
    }
}
