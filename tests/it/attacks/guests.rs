//! Scripts that attack. What each tries stands at the head of its source, `tests/attacks/src/bin/NAME.rs` or
//! `tests/attacks/wat/NAME.wat`.
use super::{
    Attack, Section,
    host::{Attempt, DISK, LIMITS, Meanwhile, OWN_CPU, OWN_MEMORY, OWN_TIME},
    race::Exchanging,
};
use crate::support::guests;
use jiff::Timestamp;
use serde_json::Value;
use std::{collections::BTreeSet, fs};

/// The command is `prepare` and a script's limits are those of the site unless the row has its own; what stands behind `and` is looked at beside what is
/// looked at after every attack.
macro_rules! attacks { ($($name:ident, $by:literal, $exit:literal, $says:literal $(, in $command:literal)? $(, with $limits:ident)? $(, meanwhile $meanwhile:expr)? $(, and $also:expr)?;)*) => {
    pub fn attacks() -> Vec<Attack> {
        vec![$(attack(stringify!($name), $by, $exit, $says)),*]
    }
    $(#[test]
    fn $name() {
        let (limits, command): (&[&str], &[&str]) = (&[$($limits,)? LIMITS], &[$($command,)? "prepare"]);
        let attack = attack(stringify!($name), $by, $exit, $says);
        let meanwhile: &[Meanwhile] = &[$($meanwhile)?];
        let attempt = Attempt::of(&attack, &guests::attack(attack.name), limits[0], command[0], meanwhile.first().copied());
        let also: &[fn(&Attempt)] = &[$($also)?];
        for look in also { look(&attempt) }
    })*
}; }

const ONE_SECOND_OF_CPU: &str = "memory = \"64MiB\"\ncpu = \"1s\"\ntime = \"60s\"";
const ONE_SECOND_OF_COMPILING: &str = "memory = \"64MiB\"\ncpu = \"30s\"\ntime = \"60s\"\ncompile = \"1s\"";
const TWO_SECONDS: &str = "memory = \"64MiB\"\ncpu = \"30s\"\ntime = \"2s\"";
const TIME_FOR_MANY_PROCESSES: &str = "memory = \"64MiB\"\ncpu = \"30s\"\ntime = \"160s\"";
const THOUSAND_CALLS: &str = "memory = \"64MiB\"\ncpu = \"30s\"\ntime = \"60s\"\nhost-calls = 1000";

attacks! {
    harmless, "nothing", 0,
        "✓ restore point 1: 0 copies proven, 0 bytes.";
    loop_for_ever, "limit `cpu`", 3,
        "✗ refused, nothing was changed: prepare/attack: the script went beyond a limit: 1s of processor time (failed)",
        with ONE_SECOND_OF_CPU;
    loop_in_plan, "limit `time`", 3,
        "✗ refused, nothing was changed: prepare: the script went beyond a limit: more than 2 seconds of wall time in one step (failed)",
        with TWO_SECONDS;
    loop_at_the_start, "limit `cpu`", 3,
        "✗ refused, nothing was changed: assess: the script went beyond a limit: 1s of processor time (failed)",
        with ONE_SECOND_OF_CPU;
    loop_in_an_inner_component, "limit `cpu`", 3,
        "✗ refused, nothing was changed: assess: the script went beyond a limit: 1s of processor time (failed)",
        with ONE_SECOND_OF_CPU;
    loop_after_the_answer, "limit `cpu`", 3,
        "✗ refused, nothing was changed: prepare/attack: the script went beyond a limit: 1s of processor time (failed)",
        with ONE_SECOND_OF_CPU;
    loop_between_calls, "limit `cpu`", 3,
        "✗ refused, nothing was changed: prepare/attack: the script went beyond a limit: 1s of processor time (failed)",
        with ONE_SECOND_OF_CPU;
    random_for_ever, "limit `cpu`", 3,
        "✗ refused, nothing was changed: prepare/attack: the script went beyond a limit: 1s of processor time (failed)",
        with ONE_SECOND_OF_CPU;
    wait_two_hundred_times, "nothing: waiting is free", 0,
        "✓ restore point 1: 0 copies proven, 0 bytes.",
        with ONE_SECOND_OF_CPU;
    recurse_for_ever, "512 KiB of stack", 3,
        "✗ refused, nothing was changed: prepare/attack: the script went beyond a limit: the depth of its stack (failed)";
    panic, "a trap ends the script's instance", 3,
        "✗ refused, nothing was changed: prepare/attack: the script broke down: panicked at src/bin/panic.rs:…no way forward at 42, at … (failed)",
        and without_frames_of_the_runtime;
    panic_in_upgrade, "the way back, which ends where it began", 4,
        "↩ evil/script runs the version before again, as before. Not upgraded: upgrade/attack: the script broke down: …",
        in "upgrade";
    exit_as_if_all_were_well, "no exit counts as an answer", 3,
        "✗ refused, nothing was changed: prepare/attack: the script broke down: Exited with i32 exit status 0, at … (failed)";
    allocate_10_gib, "limit `memory`", 3,
        "✗ refused, nothing was changed: prepare/attack: the script went beyond a limit: … MiB of memory, the limit is 64 MiB (failed)";
    allocate_in_200_steps_at_once, "8 steps at once", 3,
        "✗ refused, nothing was changed: prepare/s…: kept 6291456 bytes (failed)";
    memory_of_4_gib_at_once, "limit `memory`", 3,
        "✗ refused, nothing was changed: assess: the script went beyond a limit: 4096 MiB of memory, the limit is 64 MiB (failed)";
    memories_of_30_mib, "limit `memory`", 3,
        "✗ refused, nothing was changed: assess: the script went beyond a limit: 90 MiB of memory, the limit is 64 MiB (failed)";
    grow_memory_and_go_on_without, "limit `memory`", 3,
        "✗ refused, nothing was changed: prepare/attack: the script went beyond a limit: 3072 MiB of memory, the limit is 64 MiB (failed)";
    memory64, "memories of 32 bits only", 3,
        "error: the script cannot be compiled: failed to parse WebAssembly module: memory64 must be enabled for 64-bit memories (at offset …)";
    table_of_a_billion_elements, "1,048,576 elements of tables", 3,
        "✗ refused, nothing was changed: assess: the script went beyond a limit: more than 1048576 table elements (failed)";
    grow_tables, "1,048,576 elements of tables", 3,
        "✗ refused, nothing was changed: prepare/attack: the script went beyond a limit: more than 1048576 table elements (failed)";
    instances_by_the_hundred, "64 instances", 3,
        "✗ refused, nothing was changed: assess: the script went beyond a limit: more than 64 instances, memories or tables (failed)";
    log_for_ever, "limit `log`", 3,
        "✗ refused, nothing was changed: prepare/attack: the script went beyond a limit: more than 1048576 bytes of log and report in one step (failed)";
    report_for_ever, "limit `log`", 3,
        "✗ refused, nothing was changed: prepare/attack: the script went beyond a limit: more than 1048576 bytes of log and report in one step (failed)";
    print_for_ever, "limit `log`", 3,
        "✗ refused, nothing was changed: prepare/attack: the script went beyond a limit: more than 1048576 bytes of log and report in one step (failed)";
    speak_as_backout, "what a script prints stands in its own log", 0,
        "✓ restore point 1: 0 copies proven, 0 bytes.",
        and only_in_the_log;
    store_for_ever, "limit `store`", 3,
        "✗ refused, nothing was changed: prepare/attack: the script went beyond a limit: more than 1048576 bytes in the store (failed)";
    keep_tiny_values_for_ever, "limit `time`", 3,
        "✗ refused, nothing was changed: prepare/attack: the script went beyond a limit: more than 2 seconds of wall time in one step (failed)",
        with TWO_SECONDS;
    read_for_ever, "64 MiB in the journal", 3,
        "✗ refused, nothing was changed: prepare/attack: the script went beyond a limit: more than 67108864 bytes in the journal in one step (failed)";
    answers_for_ever, "64 MiB in the journal", 5,
        "NOT done    prepare/attack failed: the script went beyond a limit: more than 67108864 bytes…",
        with TIME_FOR_MANY_PROCESSES;
    call_for_ever, "limit `host-calls`", 3,
        "✗ refused, nothing was changed: prepare/attack: the script went beyond a limit: more than 1000 host calls in one step (failed)",
        with THOUSAND_CALLS;
    sleep_for_ever, "limit `time`", 3,
        "✗ refused, nothing was changed: prepare/attack: the script went beyond a limit: more than 2 seconds of wall time in one step (failed)",
        with TWO_SECONDS;
    sleep_for_ever_in_wasi, "limit `time`", 3,
        "✗ refused, nothing was changed: prepare/attack: the script went beyond a limit: more than 2 seconds of wall time in one step (failed)",
        with TWO_SECONDS;
    sleep_at_the_start, "limit `time`", 3,
        "✗ refused, nothing was changed: assess: the script went beyond a limit: more than 2 seconds of wall time in one step (failed)",
        with TWO_SECONDS;
    watch_for_ever, "a day for a call", 3,
        "✗ refused, nothing was changed: prepare/attack: watch: Kind::Invalid: `time` is between 1 and 86400 seconds ¦ …",
        and |a| a.answered(5, "Invalid");
    open_1000_handles, "512 handles", 3,
        "✗ refused, nothing was changed: prepare/attack: the script went beyond a limit: more than 512 handles (failed)";
    poll_a_million_handles, "4 MiB in one call", 3,
        "✗ refused, nothing was changed: prepare/attack: the script went beyond a limit: more than 4 MiB in one call (failed)";
    ask_for_1_gib_of_random_bytes, "1 MiB of random bytes", 3,
        "✗ refused, nothing was changed: prepare/attack: the script went beyond a limit: more than 1 MiB of random bytes at once (failed)";
    log_text_of_400_mib, "limit `memory`", 3,
        "✗ refused, nothing was changed: prepare/attack: the script went beyond a limit: … MiB of memory, the limit is 64 MiB (failed)";
    log_text_of_30_mib, "4 MiB in one call", 3,
        "✗ refused, nothing was changed: prepare/attack: the script went beyond a limit: more than 4 MiB in one call (failed)";
    write_file_of_30_mib, "4 MiB in one call", 3,
        "✗ refused, nothing was changed: prepare/attack: the script went beyond a limit: more than 4 MiB in one call (failed)";
    fail_with_3_mib, "4,000 characters of an error", 3,
        "✗ refused, nothing was changed: prepare/attack: xxx…";
    break_down_with_a_megabyte, "500 characters of what it breaks down with", 3,
        "✗ refused, nothing was changed: prepare/attack: the script broke down: the manifest declares no setting `xxx…",
        and short_in_the_report;
    assess_1000_risks, "100 risks", 3,
        "✗ refused, nothing was changed: assess: 1000 risks, the limit is 100 (invalid)";
    plan_of_steps_without_measure, "check of the plan", 3,
        "✗ refused, nothing was changed: prepare: the plan is wrong: step `attack`: the title has more than 200 bytes; …";
    plan_with_a_cycle, "check of the plan", 3,
        "✗ refused, nothing was changed: prepare: the plan is wrong: the steps wait for each other: a → c → b → a (invalid)";
    plan_with_a_step_twice, "check of the plan", 3,
        "✗ refused, nothing was changed: prepare: the plan is wrong: step `a`: the name stands twice (invalid)";
    plan_with_an_unknown_step, "check of the plan", 3,
        "✗ refused, nothing was changed: prepare: the plan is wrong: step `a`: comes after `nobody`, which is no step of this phase (invalid)";
    plan_with_names_that_are_none, "check of the plan", 3,
        "✗ refused, nothing was changed: prepare: the plan is wrong: step `../../etc`: a name has 1 to 64 lower-case letters, digits, `-` and `_`; …";
    plan_with_200_mistakes_of_10_kib, "20 mistakes are told, names of 64 characters", 3,
        "✗ refused, nothing was changed: prepare: the plan is wrong: step `a`: comes after `0-\\u{1b}…",
        and short_in_the_report;
    plan_of_1000_steps, "200 steps in a phase", 3,
        "✗ refused, nothing was changed: prepare: the plan is wrong: 1000 steps, the limit is 200 (invalid)";
    plan_of_100000_steps, "4 MiB in one call", 3,
        "✗ refused, nothing was changed: prepare: the script went beyond a limit: more than 4 MiB in one call (failed)";
    plan_of_2_billion_steps, "bounds of the script's memory", 3,
        "✗ refused, nothing was changed: prepare: the script broke down: list pointer/length out of bounds of memory (failed)";
    plan_list_outside_of_memory, "bounds of the script's memory", 3,
        "✗ refused, nothing was changed: prepare: the script broke down: list pointer/length out of bounds of memory (failed)";
    log_text_outside_of_its_memory, "bounds of the script's memory", 3,
        "✗ refused, nothing was changed: prepare/attack: the script broke down: string pointer/length out of bounds of memory (failed)";
    log_invalid_utf8, "check of every text", 3,
        "✗ refused, nothing was changed: prepare/attack: the script broke down: invalid utf-8 sequence of 1 bytes from index 0 (failed)";
    name_a_tree_in_invalid_utf8, "check of every text", 3,
        "✗ refused, nothing was changed: prepare/attack: the script broke down: invalid utf-8 sequence of 1 bytes from index 0 (failed)";
    fail_with_invalid_utf8, "check of every text", 3,
        "✗ refused, nothing was changed: prepare/attack: the script broke down: invalid utf-8 sequence of 1 bytes from index 0 (failed)";
    fail_in_a_way_that_there_is_not, "check of every answer", 3,
        "✗ refused, nothing was changed: prepare/attack: the script broke down: unexpected discriminant: 200 (failed)";
    answer_neither_ok_nor_error, "check of every answer", 3,
        "✗ refused, nothing was changed: prepare/attack: the script broke down: invalid expected discriminant (failed)";
    answer_outside_of_its_memory, "bounds of the script's memory", 3,
        "✗ refused, nothing was changed: prepare/attack: the script broke down: pointer out of bounds of memory (failed)";
    answer_at_an_odd_address, "check of every answer", 3,
        "✗ refused, nothing was changed: prepare/attack: the script broke down: return pointer not aligned (failed)";
    check_in_an_area_that_there_is_not, "check of every call", 3,
        "✗ refused, nothing was changed: prepare/attack: the script broke down: unexpected discriminant: 99 (failed)";
    realloc_outside_of_memory, "bounds of the script's memory", 3,
        "✗ refused, nothing was changed: prepare/attack: the script broke down: realloc return: beyond end of memory (failed)";
    realloc_that_never_returns, "limit `cpu`", 3,
        "✗ refused, nothing was changed: prepare/attack: the script went beyond a limit: 1s of processor time (failed)",
        with ONE_SECOND_OF_CPU;
    realloc_that_traps, "a trap ends the script's instance", 3,
        "✗ refused, nothing was changed: prepare/attack: the script broke down: wasm trap: wasm `unreachable` instruction executed (failed)";
    realloc_that_calls_the_host, "no call while the host writes", 3,
        "✗ refused, nothing was changed: prepare/attack: the script broke down: wasm trap: cannot leave component instance (failed)";
    call_the_host_after_the_answer, "no call after the answer", 3,
        "✗ refused, nothing was changed: prepare/attack: the script broke down: wasm trap: cannot leave component instance (failed)";
    call_without_a_grant, "the gate", 3,
        "✗ refused, nothing was changed: prepare/attack: a service of the site: Kind::Denied: service.stop on `shop` needs the right `control`, which is not granted ¦ …",
        and told_nothing;
    leave_a_tree_by_its_path, "paths stay below the tree", 3,
        "✗ refused, nothing was changed: prepare/attack: read ../secret: Kind::Denied: `../secret` leads out of the tree ¦ …",
        and |a| a.answered(17, "Denied");
    leave_a_tree_by_links_of_its_own, "no link leads back behind another one", 3,
        "✗ refused, nothing was changed: prepare/attack: back behind a link: Kind::Denied: …",
        and |a| a.answered(4, "Denied");
    leave_a_tree_while_links_are_exchanged, "paths are resolved below the tree, each step of them", 5,
        "NOT done    prepare/attack failed: never got out",
        meanwhile Exchanging::in_tree;
    name_paths_that_are_none, "paths are read strictly", 3,
        "✗ refused, nothing was changed: prepare/attack: a nul: Kind::Invalid: `fi\\x00le` is no path: 1 to 4096 bytes without a zero byte ¦ …",
        and |a| a.answered(7, "Invalid");
    look_at_the_host_by_wasi, "nothing is behind WASI", 3,
        "✗ refused, nothing was changed: prepare/attack: 0 folders, 0 variables, 0 arguments, folder None, name Err(… \"permanent-resolver-failure\", …, socket Err(… \"access-denied\", … (failed)";
    write_by_a_query, "connections that cannot write, and a list of what a query may say", 3,
        "✗ refused, nothing was changed: prepare/attack: insert: Kind::Invalid: …",
        and |a| a.answered(16, "Invalid");
    query_without_end, "limit `time`", 3,
        "✗ refused, nothing was changed: prepare/attack: the script went beyond a limit: more than 2 seconds of wall time in one step (failed)",
        with TWO_SECONDS;
    query_of_slow_functions, "limit `time`, between two of them", 3,
        "✗ refused, nothing was changed: prepare/attack: the script went beyond a limit: more than 2 seconds of wall time in one step (failed)",
        with TWO_SECONDS;
    query_of_endless_rows, "1,000 rows", 3,
        "✗ refused, nothing was changed: prepare/attack: rows: Kind::Invalid: the answer has more than 1000 rows or 1048576 bytes (failed)";
    query_of_huge_values, "1 MiB for a value, and for an answer", 3,
        "✗ refused, nothing was changed: prepare/attack: zeroes: Kind::Invalid: a statement or value is too big ¦ …",
        and |a| a.answered(6, "Invalid");
    probe_other_hosts, "paths stay below the site's address", 3,
        "✗ refused, nothing was changed: prepare/attack: another host: Kind::Invalid: a path begins with `/` ¦ …",
        and refused_before_anybody_was_asked;
    follow_a_redirect, "no redirect is followed", 3,
        "✗ refused, nothing was changed: prepare/attack: status 302, body \"\" (failed)";
    draw_the_same_numbers, "a seed for each attempt of each step", 0,
        "✓ restore point 1: 0 copies proven, 0 bytes.",
        and can_be_run_again;
    deceive_the_terminal, "control characters reach no terminal", 3,
        "✗ refused, nothing was changed: prepare/attack: �]0;owned��[2J done ✓ all is well�2K (failed)";
    write_markup, "what a script says is no markup", 3,
        "✗ refused, nothing was changed: prepare/attack: x # owned | a | b | <script>…",
        and no_markup_in_the_report;
    functions_of_a_million_operations, "limit `compile`", 3,
        "error: the script cannot be compiled: that takes more than 1s of processor time (`compile` in the site's `[limits]`)",
        with ONE_SECOND_OF_COMPILING;
    function_of_two_million_operations, "2 GiB of memory for the compiler", 3,
        "error: the script cannot be compiled: that takes more than 2048 MiB of memory";
}

/// How Rust comes from a panic to its trap is of no use to anybody.
fn without_frames_of_the_runtime(attempt: &Attempt) {
    let text = &attempt.ended.text;
    assert!(!text.contains("panicking") && text.contains("life-cycle@0.1.0#run"), "{text}");
}

fn short_in_the_report(attempt: &Attempt) {
    assert!(attempt.markdown.len() < 20_000, "{} bytes", attempt.markdown.len());
}

/// A page that shows it shows text.
fn no_markup_in_the_report(attempt: &Attempt) {
    let page = &attempt.markdown;
    assert!(page.contains("owned"), "it is not told what the script has said: {page}");
    // What stands behind a backslash is text.
    let page = ["\\<", "\\[", "\\]", "\\|", "\\#"].iter().fold(page.clone(), |page, text| page.replace(text, ""));
    for markup in ["<script", "[click](", "\n# owned", "\n| a |", "\u{202e}", "\u{2066}"] {
        assert!(!page.contains(markup), "{markup:?} stands in the report: {page}");
    }
}

/// Neither people nor programs take for Backout's word what the script has printed.
fn only_in_the_log(attempt: &Attempt) {
    assert!(!attempt.ended.text.contains("all is well"), "{}", attempt.ended.text);
    let report = &attempt.report;
    assert!(!report["said"].to_string().contains("all is well"), "{}", report["said"]);
    let log = report["log"].as_array().unwrap().iter();
    let log: Vec<_> = log.map(|line| (line["step"].as_str().unwrap(), line["text"].as_str().unwrap())).collect();
    let lines = [("attack", "backout: rolled back, all is well"), ("attack", "next: backout commit --yes")];
    assert_eq!(log, [lines, lines].concat());
}

/// Everything that it saw of itself stands in the journal: what it may use, and when each attempt began.
fn can_be_run_again(attempt: &Attempt) {
    let report = &attempt.report;
    let limits = &report["header"]["limits"];
    assert_eq!([&limits["memory_bytes"], &limits["cpu_millis"], &limits["time_millis"]], [64 << 20, 30_000, 60_000]);
    let phase = report["phases"].as_array().unwrap().iter().find(|phase| phase["name"] == "prepare").unwrap();
    let attempts = phase["steps"].as_array().unwrap().iter().flat_map(|step| step["attempts"].as_array().unwrap());
    let began = |attempt: &Value| attempt["started"].as_str().unwrap().parse::<Timestamp>().unwrap();
    let began: Vec<String> = attempts.map(|attempt| began(attempt).as_millisecond().to_string()).collect();
    let saw = report["log"].as_array().unwrap().iter().map(|line| line["text"].as_str().unwrap());
    assert_eq!(began.len(), 3, "{phase:#}");
    assert_eq!(saw.collect::<Vec<_>>(), began);
}

fn refused_before_anybody_was_asked(attempt: &Attempt) {
    let answers = attempt.answers();
    assert_eq!(answers.len(), 7, "{answers:#?}");
    assert!(answers.iter().all(|(call, answer)| match call.as_str() {
        "a load" => answer.starts_with("Kind::Denied: the site allows a load of at most 2 clients"),
        _ => answer.starts_with("Kind::Invalid: "),
    }));
}

/// Byte for byte the same, but for the name that the script itself has said.
fn told_nothing(attempt: &Attempt) {
    attempt.answered(8, "Denied");
    let answers = attempt.answers();
    let denied = attempt.report["denied"].as_array().unwrap().iter().map(|denied| {
        let mut denied = denied.as_object().unwrap().clone();
        denied.remove("at").unwrap();
        serde_json::to_string(&denied).unwrap()
    });
    let denied: Vec<String> = denied.collect();
    let reported =
        |label: &str| denied.iter().find(|d| d.contains(&format!("\"{label}\""))).unwrap().replace(label, "…");
    for (kind, there, not_there) in
        [("service", "shop", "nobody"), ("tree", "data", "date"), ("tool", "migrate", "emigrate")]
    {
        let (here, elsewhere) = (&answers[&format!("a {kind} of the site")], &answers[&format!("no {kind} at all")]);
        assert_eq!(here.replace(&format!("`{there}`"), "…"), elsewhere.replace(&format!("`{not_there}`"), "…"));
        assert_eq!(reported(there), reported(not_there));
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
         processors and {} s by the clock, and the state below {} MiB of disk: looked at from outside in each.",
        OWN_MEMORY >> 20,
        OWN_CPU.as_secs(),
        OWN_TIME.as_secs(),
        DISK >> 20,
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
    let mut rows: BTreeSet<String> = attacks().iter().map(|attack| attack.name.to_owned()).collect();
    // Carries the payloads that attack.
    rows.insert("honest".to_owned());
    assert_eq!(files, rows);
}
