//! Scripts that attack. What each tries stands at the head of its source, `tests/attacks/src/bin/NAME.rs` or
//! `tests/attacks/wat/NAME.wat`.
use super::{
    Attack, Section,
    host::{Attempt, LIMITS, OWN_CPU, OWN_MEMORY, OWN_TIME},
};
use crate::support::guests;
use std::{collections::BTreeSet, fs};

/// The command is `prepare` and a script's limits are those of the site unless the row has its own; what stands behind `and` is looked at beside what is
/// looked at after every attack.
macro_rules! attacks { ($($name:ident, $by:literal, $exit:literal, $says:literal $(, in $command:literal)? $(, with $limits:literal)? $(, and $also:expr)?;)*) => {
    pub fn attacks() -> Vec<Attack> {
        vec![$(attack(stringify!($name), $by, $exit, $says)),*]
    }
    $(#[test]
    fn $name() {
        let (limits, command): (&[&str], &[&str]) = (&[$($limits,)? LIMITS], &[$($command,)? "prepare"]);
        let attack = attack(stringify!($name), $by, $exit, $says);
        let attempt = Attempt::of(&attack, &guests::attack(attack.name), limits[0], command[0]);
        let also: &[fn(&Attempt)] = &[$($also)?];
        for look in also { look(&attempt) }
    })*
}; }

attacks! {
    harmless, "nothing", 0,
        "✓ restore point 1: 0 copies proven, 0 bytes.";
    loop_for_ever, "limit `cpu`", 3,
        "✗ refused, nothing was changed: prepare/attack: the script went beyond a limit: 1s of processor time (failed)",
        with "memory = \"64MiB\"\ncpu = \"1s\"\ntime = \"60s\"";
    loop_in_plan, "limit `cpu`", 3,
        "✗ refused, nothing was changed: prepare: the script went beyond a limit: 1s of processor time (failed)",
        with "memory = \"64MiB\"\ncpu = \"1s\"\ntime = \"60s\"";
    allocate_10_gib, "limit `memory`", 3,
        "✗ refused, nothing was changed: prepare/attack: the script went beyond a limit: … MiB of memory, the limit is 64 MiB (failed)";
    recurse_for_ever, "depth of the stack, 512 KiB", 3,
        "✗ refused, nothing was changed: prepare/attack: the script went beyond a limit: the depth of its stack (failed)";
    panic, "a trap ends the script's instance", 3,
        "✗ refused, nothing was changed: prepare/attack: the script broke down: panicked at src/bin/panic.rs:…no way forward at 42, at … (failed)",
        and ended_without_the_frames_of_the_runtime;
    panic_in_upgrade, "the way back, ending where it began", 4,
        "↩ evil/script runs the version before again, as before. Not upgraded: upgrade/attack: the script broke down: …",
        in "upgrade";
    log_for_ever, "limit `log`", 3,
        "✗ refused, nothing was changed: prepare/attack: the script went beyond a limit: more than 1048576 bytes of log and report in one step (failed)";
    report_for_ever, "limit `log`", 3,
        "✗ refused, nothing was changed: prepare/attack: the script went beyond a limit: more than 1048576 bytes of log and report in one step (failed)";
    store_for_ever, "limit `store`", 3,
        "✗ refused, nothing was changed: prepare/attack: the script went beyond a limit: more than 1048576 bytes in the store (failed)";
    call_for_ever, "limit `host-calls`", 3,
        "✗ refused, nothing was changed: prepare/attack: the script went beyond a limit: more than 1000 host calls in one step (failed)",
        with "memory = \"64MiB\"\ncpu = \"30s\"\ntime = \"60s\"\nhost-calls = 1000";
    sleep_for_ever, "limit `time`", 3,
        "✗ refused, nothing was changed: prepare/attack: the script went beyond a limit: more than 2 seconds of wall time in one step (failed)",
        with "memory = \"64MiB\"\ncpu = \"30s\"\ntime = \"2s\"";
    log_text_of_400_mib, "limit `memory`", 3,
        "✗ refused, nothing was changed: prepare/attack: the script went beyond a limit: … MiB of memory, the limit is 64 MiB (failed)";
    log_text_of_30_mib, "4 MiB in one call", 3,
        "✗ refused, nothing was changed: prepare/attack: the script went beyond a limit: more than 4 MiB in one call (failed)";
    write_file_of_30_mib, "4 MiB in one call", 3,
        "✗ refused, nothing was changed: prepare/attack: the script went beyond a limit: more than 4 MiB in one call (failed)";
    fail_with_3_mib, "4,000 characters of an error are kept", 3,
        "✗ refused, nothing was changed: prepare/attack: xxx…";
    deceive_the_terminal, "control characters reach no terminal", 3,
        "✗ refused, nothing was changed: prepare/attack: �]0;owned��[2J done ✓ all is well�2K (failed)";
    call_without_a_grant, "the gate", 3,
        "✗ refused, nothing was changed: prepare/attack: a service of the site: Kind::Denied: service.stop on `shop` needs the right `control`, which is not granted ¦ …",
        and told_nothing;
    leave_a_tree_by_its_path, "paths stay below the tree", 3,
        "✗ refused, nothing was changed: prepare/attack: read ../secret: Kind::Denied: `../secret` leads out of the tree ¦ …",
        and |a| a.answered(17, "Denied");
    name_paths_that_are_none, "paths are read strictly", 3,
        "✗ refused, nothing was changed: prepare/attack: a nul: Kind::Invalid: …",
        and |a| a.answered(7, "Invalid");
    plan_with_a_cycle, "check of the plan", 3,
        "✗ refused, nothing was changed: prepare: the plan is wrong: the steps wait for each other: a → c → b → a (invalid)";
    plan_with_a_step_twice, "check of the plan", 3,
        "✗ refused, nothing was changed: prepare: the plan is wrong: step `a`: the name stands twice (invalid)";
    plan_with_an_unknown_step, "check of the plan", 3,
        "✗ refused, nothing was changed: prepare: the plan is wrong: step `a`: comes after `nobody`, which is no step of this phase (invalid)";
    plan_with_names_that_are_none, "check of the plan", 3,
        "✗ refused, nothing was changed: prepare: the plan is wrong: step `../../etc`: a name has 1 to 64 lower-case letters, digits, `-` and `_`; …";
    plan_of_1000_steps, "200 steps in a phase", 3,
        "✗ refused, nothing was changed: prepare: the plan is wrong: 1000 steps, the limit is 200 (invalid)";
    plan_of_100000_steps, "4 MiB in one call", 3,
        "✗ refused, nothing was changed: prepare: the script went beyond a limit: more than 4 MiB in one call (failed)";
    plan_with_200_mistakes_of_10_kib, "check of the plan", 3,
        "✗ refused, nothing was changed: prepare: the plan is wrong: step `a`: comes after `…";
    text_that_lies_about_its_length, "bounds of the script's memory", 3,
        "✗ refused, nothing was changed: prepare/attack: the script broke down: …";
}

/// How Rust comes from a panic to its trap is of no use to anybody.
fn ended_without_the_frames_of_the_runtime(attempt: &Attempt) {
    let text = &attempt.ended.text;
    assert!(!text.contains("panicking") && text.contains("life-cycle@0.1.0#run"), "{text}");
}

/// Byte for byte the same, but for the name that the script itself has said.
fn told_nothing(attempt: &Attempt) {
    attempt.answered(8, "Denied");
    let answers = attempt.answers();
    for (kind, there, not_there) in
        [("service", "shop", "nobody"), ("tree", "data", "date"), ("tool", "migrate", "emigrate")]
    {
        let (here, elsewhere) = (&answers[&format!("a {kind} of the site")], &answers[&format!("no {kind} at all")]);
        assert_eq!(here.replace(&format!("`{there}`"), "…"), elsewhere.replace(&format!("`{not_there}`"), "…"));
    }
}

fn attack(name: &'static str, stopped_by: &'static str, exit: i32, says: &'static str) -> Attack {
    Attack { name, tries: head(name), stopped_by, exit, says }
}

/// The comment with which the source begins.
fn head(name: &str) -> String {
    let folder = guests::root().join("tests/attacks");
    let read = |path: String| fs::read_to_string(folder.join(path));
    let source = read(format!("src/bin/{name}.rs")).or_else(|_| read(format!("wat/{name}.wat"))).unwrap();
    let comment = |line: &'_ str| Some(line.strip_prefix("//!").or_else(|| line.strip_prefix(";;"))?.trim().to_owned());
    let head = source.lines().map_while(comment).collect::<Vec<_>>().join(" ");
    assert!(head.ends_with('.'), "{name} does not begin with a sentence that says what it tries");
    head
}

pub fn section() -> Section {
    let about = format!(
        "The site allows them `memory = \"64MiB\"`, `cpu = \"30s\"` and `time = \"60s\"` where nothing else is said. On top of what \
         the site allows, the whole process, with the compiling of the script, stays below {} MiB of memory, {} s on the \
         processors and {} s by the clock: looked at from outside in each.",
        OWN_MEMORY >> 20,
        OWN_CPU.as_secs(),
        OWN_TIME.as_secs(),
    );
    Section { title: "Scripts", about, attacks: attacks() }
}

#[test]
fn every_guest_is_in_the_table() {
    let files = ["src/bin", "wat"].into_iter().flat_map(|folder| {
        fs::read_dir(guests::root().join("tests/attacks").join(folder)).unwrap().map(|entry| entry.unwrap().path())
    });
    let files = files.filter(|path| path.extension().is_some());
    let files: BTreeSet<String> = files.map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned()).collect();
    let rows: BTreeSet<String> = attacks().iter().map(|attack| attack.name.to_owned()).collect();
    assert_eq!(files, rows);
}
