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

/// What knows the probe for a reason of its own, which another kind or interface need not have.
const OTHERS: &[(&str, &str)] = &[
    ("src/site/agree.rs", "a load test needs a limit of the site"),
    ("src/report/facts.rs", "a service is down until a probe answers"),
    ("src/report/fold.rs", "a service is down until a probe answers"),
    ("src/report/down.rs", "a service is down until a probe answers"),
    ("src/report/markdown.rs", "a service is down until a probe answers"),
    ("src/resource/tree/drivers/directory/copy.rs", "another sense of the word"),
];

/// The other way round: who follows the recipes for the probe has missed nothing.
#[test]
fn all_that_knows_the_probe_stands_in_a_recipe() {
    let page = read("CONTRIBUTING.md");
    let mut folders = vec!["src".to_owned()];
    let (mut missed, mut others) = (Vec::new(), Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(root().join(&folder)).unwrap().map(Result::unwrap) {
            let path = format!("{folder}/{}", entry.file_name().into_string().unwrap());
            if entry.file_type().unwrap().is_dir() {
                // The demo is a program of its own.
                if path != "src/cli/demo" && !path.ends_with("/probe") {
                    folders.push(path);
                }
                continue;
            }
            let text = fs::read_to_string(entry.path()).unwrap();
            let mut words = text.split(|c: char| !c.is_alphanumeric() && c != '_');
            if !words.any(|word| matches!(word, "probe" | "probes" | "Probe")) {
                continue;
            }
            match OTHERS.iter().any(|(other, _)| *other == path) {
                true => others.push(path),
                false if page.contains(&format!("`{path}`")) => {}
                false => missed.push(path),
            }
        }
    }
    assert_eq!(missed, [""; 0], "these know the probe, and no recipe names them");
    for (other, why) in OTHERS {
        assert!(others.iter().any(|path| path == other), "{other} is gone, and so is its reason: {why}");
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
