//! What happened in a run, for people and for machines: pure functions of its journal. Never sees a driver.
//!
//! `Report::of` reads entries into facts; Markdown and JSON say the same facts. Plans, paths and tests are told likewise, from
//! what a dry run found.
pub mod annotation;
mod down;
mod escape;
pub mod explored;
mod facts;
mod finding;
mod fold;
mod half_way;
pub mod junit;
mod left;
mod markdown;
mod metrics;
pub mod news;
pub mod plan;
mod point;
mod standing;
pub mod tested;
pub mod text;

pub use facts::*;
pub use half_way::left_standing;
pub use markdown::markdown;

/// The facts as one JSON document.
pub fn json(report: &Report) -> serde_json::Result<String> {
    serde_json::to_string_pretty(report).map(|text| text + "\n")
}

/// Of what stands beside the four words.
const WIDTH: usize = 84;

/// The block for the terminal when people are needed: what is done, what is not, what is safe, what comes next.
pub fn stopped(report: &Report) -> Option<String> {
    let half_way = report.half_way.as_ref()?;
    let head = match report.outcome() {
        Some("in-doubt") => "■ IN DOUBT. People are needed who can look.",
        Some(_) => "■ STOPPED half-way. People are needed.",
        None => "■ NOT ENDED. It goes on, or was interrupted.",
    };
    let mut block = format!("{head}\n");
    let mut part = |name: &str, lines: &[String]| {
        for (n, line) in lines.iter().enumerate() {
            for (m, piece) in text::wrapped(line, WIDTH).iter().enumerate() {
                let (name, indent) = (if n + m == 0 { name } else { "" }, if m == 0 { "" } else { "  " });
                block += &format!("  {name:<10}  {indent}{piece}\n");
            }
        }
    };
    part("done", &half_way.done);
    part("NOT done", &half_way.not_done);
    part("safe", &half_way.safe);
    let next = half_way.next.iter().enumerate().map(|(n, todo)| match &todo.command {
        Some(command) => format!("{}. {command}    {}", n + 1, todo.text),
        None => format!("{}. {}", n + 1, todo.text),
    });
    part("next", &next.collect::<Vec<_>>());
    Some(block)
}
