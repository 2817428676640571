//! The page of benchmarks is written by the benchmarks, now and then; what can be known without measuring holds at any time.
use super::page;
use crate::docs::benchmarks::rows::{MET, MISSED, ROWS, Row};

#[allow(dead_code)]
#[path = "../../../benches/speed/rows.rs"]
mod rows;

/// The table with the results, without its head.
fn table(page: &str) -> Vec<Vec<&str>> {
    let rows =
        page.lines().skip_while(|line| !line.starts_with("| ---")).skip(1).take_while(|line| line.starts_with('|'));
    rows.map(|line| line.trim_matches('|').split('|').map(str::trim).collect()).collect()
}

fn section<'p>(page: &'p str, heading: &str) -> &'p str {
    let after = page.split_once(&format!("\n## {heading}\n")).map(|(_, after)| after);
    after.map_or("", |after| after.split("\n## ").next().unwrap())
}

#[test]
fn the_page_has_every_row_of_the_bench_and_no_other() {
    let page = page("benchmarks.md");
    let found: Vec<[String; 3]> =
        table(&page).iter().map(|cells| [cells[0], cells[2], cells[6]].map(str::to_owned)).collect();
    let expected = |row: &Row| [row.what.to_owned(), row.baseline.to_owned(), row.aim.text()];
    assert_eq!(found, ROWS.iter().map(expected).collect::<Vec<_>>(), "cargo bench --profile dev -- --save");
}

#[test]
fn no_aim_is_missed_without_a_word() {
    let page = page("benchmarks.md");
    let mut missed = Vec::new();
    for (row, cells) in ROWS.iter().zip(table(&page)) {
        let met = row.aim.met(cells[4]).unwrap_or_else(|| panic!("{}: {} is no result", row.name, cells[4]));
        assert_eq!(
            cells[7],
            if met { MET } else { MISSED },
            "{}: {} with the aim {}",
            row.name,
            cells[4],
            row.aim.text()
        );
        if !met {
            let why = row.why_missed.unwrap_or_else(|| panic!("{} is missed: rows.rs must say why", row.name));
            missed.push(format!("- **{}**: {why}", row.what));
        }
    }
    let told: Vec<&str> = section(&page, "What is missed, and why").lines().filter(|line| !line.is_empty()).collect();
    assert_eq!(told, missed);
}

#[test]
fn the_page_says_on_what_and_with_what() {
    let page = page("benchmarks.md");
    let facts = table(section(&page, "Where"));
    for what in ["processor", "memory", "file system", "kernel", "Backout", "wasmtime", "SQLite", "rustc"] {
        let fact = facts.iter().find(|cells| cells[0] == what).unwrap_or_else(|| panic!("nothing of the {what}"));
        assert!(!fact[1].is_empty() && !fact[1].contains("unknown"), "{what}: {}", fact[1]);
    }
}
