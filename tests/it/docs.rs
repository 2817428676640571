//! Pages that say what the program does agree with it: they are written by a test, read by one, or played.
mod benchmarks;
mod commands;
mod jobs;
mod links;
mod markdown;
mod promises;
mod recipes;
mod snippets;

use backout::cli::{Cli, Exit};
use clap::{Arg, Command, CommandFactory};
use expect_test::expect_file;
use std::fmt::Write;

fn page(name: &str) -> String {
    std::fs::read_to_string(format!("{}/docs/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

#[test]
fn the_page_of_exit_codes_has_all_of_them_and_no_other() {
    let page = page("exit-codes.md");
    let rows = page.lines().filter_map(|line| {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        Some((cells[0].parse::<u8>().ok()?, (*cells.get(1)?).to_owned()))
    });
    let name = |exit: &Exit| serde_json::to_value(exit).unwrap().as_str().unwrap().to_owned();
    let codes: Vec<(u8, String)> = Exit::ALL.iter().map(|exit| (*exit as u8, name(exit))).collect();
    assert_eq!(rows.collect::<Vec<_>>(), codes);
}

/// One line of Markdown.
fn plain(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|").replace('<', "\\<")
}

fn argument(page: &mut String, arg: &Arg) {
    let mut names = Vec::new();
    names.extend(arg.get_short().map(|short| format!("-{short}")));
    names.extend(arg.get_long().map(|long| format!("--{long}")));
    let values: Vec<String> = arg.get_value_names().unwrap_or_default().iter().map(ToString::to_string).collect();
    let takes_value = arg.get_action().takes_values();
    let spelled = match (names.is_empty(), takes_value) {
        (true, _) => values.join(" "),
        (false, true) => format!("{} {}", names.join(", "), values.join(" ")),
        (false, false) => names.join(", "),
    };
    let help = arg.get_long_help().or(arg.get_help()).map(ToString::to_string).unwrap_or_default();
    assert!(!help.is_empty(), "{} has no help text", arg.get_id());
    let mut notes = Vec::new();
    if takes_value && !arg.is_hide_possible_values_set() {
        let possible = arg.get_possible_values();
        let told = possible.iter().filter(|v| !v.is_hide_set()).map(|value| match value.get_help() {
            Some(help) => format!("`{}` ({})", value.get_name(), plain(&help.to_string())),
            None => format!("`{}`", value.get_name()),
        });
        let told: Vec<String> = told.collect();
        if !told.is_empty() {
            notes.push(format!("One of {}.", told.join(", ")));
        }
    }
    let defaults: Vec<String> = arg.get_default_values().iter().map(|v| v.to_string_lossy().into_owned()).collect();
    if takes_value && !defaults.is_empty() {
        notes.push(format!("Default: `{}`.", defaults.join(" ")));
    }
    if let Some(env) = arg.get_env() {
        notes.push(format!("Environment: `{}`.", env.to_string_lossy()));
    }
    let notes = notes.iter().map(|note| format!(" {note}")).collect::<String>();
    let dot = if help.ends_with(['.', '?', '!']) { "" } else { "." };
    // A bar would end the cell.
    let spelled = spelled.replace('|', "\\|");
    writeln!(page, "| `{spelled}` | {}{dot}{notes} |", plain(&help)).unwrap();
}

fn arguments<'a>(page: &mut String, args: impl Iterator<Item = &'a Arg>) {
    let mut args = args.filter(|arg| !arg.is_hide_set()).peekable();
    if args.peek().is_some() {
        page.push_str("\n| | |\n| --- | --- |\n");
        args.for_each(|arg| argument(page, arg));
    }
}

fn command(page: &mut String, command: &Command, name: &str) {
    let about = command.get_long_about().or(command.get_about()).map(ToString::to_string).unwrap_or_default();
    assert!(!about.is_empty(), "{name} has no text");
    let mut usage = name.to_owned();
    for arg in command.get_positionals().filter(|arg| !arg.is_hide_set()) {
        let mut value = arg.get_value_names().unwrap_or_default().join(" ");
        if arg.get_num_args().is_some_and(|count| count.max_values() > 1) {
            value += "...";
        }
        usage += &if arg.is_required_set() { format!(" {value}") } else { format!(" [{value}]") };
    }
    writeln!(page, "\n## {name}\n\n    {usage}\n").unwrap();
    for paragraph in about.split("\n\n") {
        let text = paragraph.split_whitespace().collect::<Vec<_>>().join(" ");
        let dot = if text.ends_with(['.', ':', '?']) { "" } else { "." };
        writeln!(page, "{text}{dot}").unwrap();
        page.push('\n');
    }
    page.pop();
    let own = |arg: &&Arg| !arg.is_global_set() && !matches!(arg.get_id().as_str(), "help" | "version");
    arguments(page, command.get_positionals().chain(command.get_opts().chain(flags(command)).filter(own)));
    for sub in command.get_subcommands().filter(|sub| !sub.is_hide_set() && sub.get_name() != "help") {
        self::command(page, sub, &format!("{name} {}", sub.get_name()));
    }
}

/// Options that take no value.
fn flags(command: &Command) -> impl Iterator<Item = &Arg> {
    command.get_arguments().filter(|arg| !arg.get_action().takes_values())
}

/// Change a command's help, then run this test with UPDATE_EXPECT=1.
#[test]
fn the_page_of_commands_is_what_they_say_of_themselves() {
    let mut cli = Cli::command();
    cli.build();
    let mut text =
        String::from("# Commands\n\nThis page is the output of a test; the texts stand with the commands.\n");
    text.push_str("Exit codes have [a page of their own](exit-codes.md).\n\n## For every command\n");
    arguments(&mut text, cli.get_arguments().filter(|arg| arg.is_global_set()));
    for sub in cli.get_subcommands().filter(|sub| !sub.is_hide_set() && sub.get_name() != "help") {
        command(&mut text, sub, &format!("backout {}", sub.get_name()));
    }
    expect_file![format!("{}/docs/cli.md", env!("CARGO_MANIFEST_DIR"))].assert_eq(&text);
}
