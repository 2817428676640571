//! What pages quote is quoted: each piece of source stands in a file that is built, parsed or run.
use super::{
    commands::PLAYED,
    markdown::{Block, blocks, pages, read},
};
use crate::support::guests::root;
use backout::cli::Cli;
use clap::CommandFactory;
use std::{fs, path::Path};

/// Pages whose examples other tests read: `references`, `condition`, `wit`, `jobs`.
const READ_ELSEWHERE: &[&str] =
    &["docs/site.md", "docs/package.md", "docs/conditions.md", "docs/wit.md", "docs/pipelines.md"];

const LANGUAGES: &[&str] = &["console", "toml", "rust", "python", "wit", "text"];

fn sources(folder: &Path, found: &mut Vec<String>) {
    for entry in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        let name = entry.file_name().unwrap().to_str().unwrap();
        if entry.is_dir() && name != "target" {
            sources(&entry, found);
        } else if [".rs", ".py", ".toml", ".wit"].iter().any(|ending| name.ends_with(ending)) {
            found.push(unindented(&fs::read_to_string(&entry).unwrap()));
        }
    }
}

/// A piece is quoted without what stands around it.
fn unindented(text: &str) -> String {
    text.lines().map(|line| format!("{}\n", line.trim_start())).collect()
}

#[test]
fn every_snippet_stands_in_a_file_that_is_used() {
    let mut files = Vec::new();
    for folder in ["guest-examples", "wit", "src/cli/demo/site", "src/capability", "src/resource"] {
        sources(&root().join(folder), &mut files);
    }
    let mut quoted = 0;
    for page in pages().iter().filter(|page| !READ_ELSEWHERE.contains(&page.as_str())) {
        for block in blocks(page) {
            let Block { page, line, language, rest, text } = &block;
            assert!(LANGUAGES.contains(&language.as_str()), "{page}:{line}: `{language}` is nothing that a test reads");
            match language.as_str() {
                "console" | "text" => {}
                // Written into a file, and used by the commands of the page.
                _ if !rest.is_empty() => {
                    assert!(PLAYED.contains(&page.as_str()), "{page}:{line}: nobody writes {rest}")
                }
                _ => {
                    quoted += 1;
                    assert!(
                        files.iter().any(|file| file.contains(&unindented(text))),
                        "{page}:{line}: no file has these lines:\n{text}"
                    );
                }
            }
        }
    }
    assert!(quoted >= 5, "only {quoted} snippets were found");
}

/// `backout SUBCOMMAND --option` in running text, and in blocks that are not played.
#[test]
fn every_command_that_is_named_is_there() {
    let mut cli = Cli::command();
    cli.build();
    let mut named = 0;
    for page in pages() {
        for span in read(&page).split('`').filter(|span| !span.contains('\n')) {
            let Some(words) = span.strip_prefix("backout ") else { continue };
            let mut words = words.split_whitespace();
            let name = words.next().unwrap_or_default();
            let command = cli.find_subcommand(name).unwrap_or_else(|| panic!("{page}: there is no `{span}`"));
            named += 1;
            for option in words.filter_map(|word| word.strip_prefix("--")) {
                let known = command.get_arguments().any(|argument| argument.get_long() == Some(option));
                assert!(known, "{page}: `{span}`: there is no --{option}");
            }
        }
    }
    assert!(named >= 30, "only {named} commands were found");
}
