//! Those who mean harm: scripts, packages and files. Each attack is a small guest or file of its own under `tests/`, named after
//! what it tries, and a row of a table that says what stops it and what people see. The tables make `docs/attacks.md`.
mod archives;
mod components;
mod files;
mod guests;
mod host;
mod journal;
mod leftovers;
mod manifests;
mod race;
mod sites;

use expect_test::expect_file;
use std::fmt::Write;

/// One attack, and its end.
pub struct Attack {
    /// of the guest or file
    pub name: &'static str,
    /// a sentence
    pub tries: String,
    /// a limit of the site, a check, a right that is missing
    pub stopped_by: &'static str,
    pub exit: i32,
    /// The line that people see. `…` stands for what differs from run to run.
    pub says: &'static str,
}

impl Attack {
    /// How the command ended, and all that it said.
    #[track_caller]
    pub fn judge(&self, code: Option<i32>, text: &str) {
        assert_eq!(code, Some(self.exit), "{}: {text}", self.name);
        assert!(
            text.lines().any(|line| is_like(line.trim(), self.says)),
            "{}: not said: {}\n{text}",
            self.name,
            self.says
        );
    }
}

fn is_like(line: &str, pattern: &str) -> bool {
    let mut parts = pattern.split('…');
    let Some(mut rest) = line.strip_prefix(parts.next().unwrap_or_default()) else { return false };
    let mut last = None;
    for part in parts {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
        last = Some(part);
    }
    rest.is_empty() || last.is_some_and(|part| part.is_empty() || line.ends_with(part))
}

#[test]
fn a_line_is_like_a_pattern_or_it_is_not() {
    for (pattern, wanted) in
        [("abcd", true), ("a…d", true), ("…c…", true), ("ab…cd", true), ("abc", false), ("a…c", false), ("b…", false)]
    {
        assert_eq!(is_like("abcd", pattern), wanted, "{pattern}");
    }
    assert!(is_like("ab ab", "…ab"));
}

/// A table of the page.
struct Section {
    title: &'static str,
    about: String,
    attacks: Vec<Attack>,
}

fn sections() -> Vec<Section> {
    vec![
        guests::section(),
        sites::section(),
        manifests::section(),
        components::section(),
        archives::section(),
        leftovers::section(),
    ]
}

const HEAD: &str = "\
# Attacks

What scripts and packages must not be able to do is tried by the tests: each row is a guest or file of its own under `tests/`, and
the real program meets it. None changes anything that it should not, and each ends in the error that stands here; `…` is what
differs from run to run. This page is written by the tests.
";

#[test]
fn the_page_lists_every_attack() {
    let mut page = HEAD.to_owned();
    for Section { title, about, attacks } in sections() {
        write!(page, "\n## {title}\n\n{about}\n").unwrap();
        page += "\n| attack | tries | stopped by | exit | what people see |\n| --- | --- | --- | --- | --- |\n";
        for Attack { name, tries, stopped_by, exit, says } in attacks {
            let says = if says.contains('`') { format!("`` {says} ``") } else { format!("`{says}`") };
            let cells = [name, &tries, stopped_by, &exit.to_string(), &says];
            writeln!(page, "| {} |", cells.map(|cell| cell.replace('|', "\\|")).join(" | ")).unwrap();
        }
    }
    expect_file![format!("{}/docs/attacks.md", env!("CARGO_MANIFEST_DIR"))].assert_eq(&page);
}
