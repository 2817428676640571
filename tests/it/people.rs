//! People who are asked, at a terminal and elsewhere.
mod answers;

use crate::support::{guests, packages::Folder, terminal::Terminal};
use std::fs;

fn host(limits: &str) -> Folder {
    let host = Folder::new();
    host.write("backout.toml", format!("{limits}[allow.\"test/people\"]\n"));
    guests::people().copy_to(&host.at("people"));
    host
}

/// Answers one question, whoever is asked.
#[track_caller]
fn answer(terminal: &mut Terminal, answers: &[(&str, &str)]) {
    let question = terminal.shows("nothing for no: ");
    let (_, asked) = question.rsplit_once("May this go on, ").expect("a question");
    let (_, name) = answers.iter().find(|(role, _)| asked.starts_with(role)).expect("one of the roles");
    terminal.types(name);
}

#[test]
fn people_approve_with_their_name_or_not() {
    let host = host("");
    let mut terminal = Terminal::backout(host.path(), "upgrade people");
    terminal.shows("[y/N]");
    terminal.types("y");
    // Two steps ask at the same time; one question stands there at a time, and each gets its own answer.
    for _ in 0..2 {
        answer(&mut terminal, &[("owner", "Ada"), ("database administrator", "")]);
    }
    terminal.shows("there is no question yet");
    terminal.types("Mallory");
    answer(&mut terminal, &[("operator", "Grace")]);
    let (shown, code) = terminal.ends();
    assert_eq!(code, 0, "{shown}");
    let report = fs::read_to_string(host.at("state/runs/1/report.md")).unwrap();
    for note in [
        "owner: yes, says Ada",
        "operator: yes, says Grace",
        "database administrator: Kind::Denied, it was not approved",
    ] {
        assert!(report.contains(note), "`{note}` is not in the report\n{report}");
    }
}

#[test]
fn a_question_that_nobody_answers_is_taken_back() {
    let host = host("[limits]\ntime = \"2s\"\n\n");
    let mut terminal = Terminal::backout(host.path(), "prepare people --yes");
    terminal.shows("nothing for no: ");
    let (shown, code) = terminal.ends();
    assert_eq!(code, 3, "{shown}");
    assert!(shown.contains("beyond a limit"), "{shown}");
}

#[test]
fn ctrl_c_at_a_question_stops_the_run() {
    let host = host("");
    let mut terminal = Terminal::backout(host.path(), "prepare people --yes");
    terminal.shows("nothing for no: ");
    terminal.presses('\u{3}');
    let (shown, code) = terminal.ends();
    assert_eq!(code, 3, "{shown}");
    assert!(shown.contains("stopping as soon as it is safe"), "{shown}");
}
