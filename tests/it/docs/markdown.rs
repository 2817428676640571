//! What the checks of pages have in common: the files, their blocks, their headings.
use crate::support::guests::root;
use std::{fs, path::Path};

/// A fenced block.
#[derive(Clone, Debug)]
pub struct Block {
    pub page: String,
    /// of the opening fence, from 1
    pub line: usize,
    /// the first word behind the fence
    pub language: String,
    /// what stands behind it: a file's name, say
    pub rest: String,
    pub text: String,
}

/// Every Markdown file that is the project's own, by its path from the top.
pub fn pages() -> Vec<String> {
    let mut found = Vec::new();
    walk(root(), "", &mut found);
    found.sort();
    found
}

fn walk(folder: &Path, under: &str, found: &mut Vec<String>) {
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let name = entry.file_name().into_string().unwrap();
        let path = if under.is_empty() { name.clone() } else { format!("{under}/{name}") };
        if entry.file_type().unwrap().is_dir() {
            // What is built, and what a tool keeps, are no pages. Reports are outputs that belong to no page.
            if name != "target" && !name.starts_with('.') && path != "tests/it/reports" {
                walk(&entry.path(), &path, found);
            }
        } else if name.ends_with(".md") {
            found.push(path);
        }
    }
}

pub fn read(page: &str) -> String {
    fs::read_to_string(root().join(page)).unwrap_or_else(|error| panic!("{page}: {error}"))
}

pub fn blocks(page: &str) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    let mut open: Option<String> = None;
    for (index, line) in read(page).lines().enumerate() {
        match &open {
            Some(fence) if line.trim_end() == fence.as_str() => open = None,
            Some(_) => {
                let block = blocks.last_mut().unwrap();
                block.text += line;
                block.text += "\n";
            }
            None if line.starts_with("```") => {
                let info = line.trim_start_matches('`');
                open = Some(line[..line.len() - info.len()].to_owned());
                let (language, rest) = info.split_once(' ').unwrap_or((info, ""));
                let (language, rest) = (language.to_owned(), rest.trim().to_owned());
                blocks.push(Block { page: page.to_owned(), line: index + 1, language, rest, text: String::new() });
            }
            None => {}
        }
    }
    assert!(open.is_none(), "{page}: a block is not closed");
    blocks
}

/// The page without its blocks, line by line, with the numbers of the lines.
pub fn prose(text: &str) -> Vec<(usize, &str)> {
    let mut inside = false;
    let mut lines = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let fence = line.starts_with("```");
        inside ^= fence;
        if !inside && !fence && !line.starts_with("    ") {
            lines.push((index + 1, line));
        }
    }
    lines
}
