//! What the reference of the docs shows is so.
use super::shop;
use backout::condition::{Condition, Operator, RESERVED, UNITS, Words};

const REFERENCE: &str = include_str!("../../../docs/conditions.md");

/// The fenced blocks of the reference whose info string begins with `kind`, with the rest of that string.
fn blocks(kind: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut lines = REFERENCE.lines();
    while let Some(line) = lines.next() {
        if let Some(info) = line.strip_prefix("```").filter(|info| !info.is_empty()) {
            let body: Vec<&str> = lines.by_ref().take_while(|l| *l != "```").collect();
            if let Some(rest) = info.strip_prefix(kind) {
                found.push((rest.trim().to_owned(), body.join("\n")));
            }
        }
    }
    found
}

/// All conditions that it shows.
pub fn conditions() -> Vec<String> {
    blocks("condition").iter().flat_map(|(_, lines)| lines.lines().map(str::to_owned)).collect()
}

#[test]
fn every_example_of_the_reference_is_read() {
    let examples = blocks("condition");
    assert!(examples.len() >= 3);
    for (place, lines) in examples {
        let words = match place.as_str() {
            "metrics" => shop(),
            "answer" => Words::answer(),
            "load" => Words::load(),
            other => panic!("no such place: {other}"),
        };
        for line in lines.lines() {
            if let Err(mistake) = Condition::parse(line, &words) {
                panic!("{mistake}");
            }
        }
    }
}

#[test]
fn the_grammar_of_the_reference_names_what_the_parser_takes() {
    let grammar = blocks("ebnf").into_iter().map(|(_, body)| body).collect::<String>();
    for word in Operator::ALL.iter().map(|o| o.as_str()).chain(RESERVED.iter().copied()) {
        assert!(grammar.contains(&format!("\"{word}\"")), "the grammar lacks {word}");
    }
    let table: String = UNITS.iter().map(|u| format!("| `{}` | {} |\n", u.as_str(), u.about())).collect();
    assert!(REFERENCE.contains(&table), "the table of units should be:\n{table}");
}

#[test]
fn the_mistake_that_the_reference_shows_is_the_one_that_people_see() {
    let shown = blocks("mistake");
    assert!(!shown.is_empty());
    for (_, text) in shown {
        let condition = text.lines().nth(1).unwrap().trim();
        assert_eq!(Condition::parse(condition, &shop()).unwrap_err().to_string(), text);
    }
}
