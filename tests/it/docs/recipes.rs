//! `CONTRIBUTING.md` names the files that a change touches: each is there, and has to do with the example of its recipe.
use super::markdown::read;
use crate::support::guests::root;
use std::fs;

/// Whether a name stands in a file, as a word, or is part of its path.
fn concerns(path: &str, name: &str) -> bool {
    let same = |word: &str| word.eq_ignore_ascii_case(name) || word.replace('_', "-").eq_ignore_ascii_case(name);
    let text = fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
    let mut words = path.split(['/', '.', '-']).chain(text.split(|c: char| !c.is_alphanumeric() && c != '_'));
    words.any(same) || text.contains(name)
}

#[test]
fn every_recipe_names_files_that_belong_to_its_example() {
    let page = read("CONTRIBUTING.md");
    let recipes: Vec<&str> = page.split("\n### ").skip(1).collect();
    assert_eq!(recipes.len(), 4);
    for recipe in recipes {
        let title = recipe.lines().next().unwrap();
        let example = recipe.split_once("Example: `").unwrap().1.split('`').next().unwrap();
        // A language is known by its own name wherever there is no folder.
        let example = example.split('-').next().unwrap();
        let rows = recipe.lines().skip_while(|line| !line.starts_with("| ---")).skip(1);
        let rows = rows.take_while(|line| line.starts_with("| `"));
        let files: Vec<&str> =
            rows.flat_map(|row| row.split(" | ").next().unwrap().split('`').skip(1).step_by(2)).collect();
        assert!(files.len() >= 7, "{title}: {files:?}");
        for file in files {
            assert!(concerns(file, example), "{title}: {file} does not know `{example}`");
        }
    }
}

/// Everything in backticks that looks like a path of the repository.
#[test]
fn pages_name_no_file_that_is_not_there() {
    let tops = ["src/", "tests/", "wit/", "docs/", "benches/", "guest-examples/"];
    for page in ["CONTRIBUTING.md", "SECURITY.md", "README.md", "docs/scripts.md"] {
        for word in read(page).split('`').skip(1).step_by(2).filter(|word| tops.iter().any(|top| word.starts_with(top)))
        {
            let path = word.split(' ').next().unwrap();
            assert!(root().join(path).exists(), "{page} names {path}, which is not there");
        }
    }
}
