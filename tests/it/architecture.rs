//! What the code is not: invariants that are absences, read from the sources themselves.
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

fn root() -> PathBuf {
    env!("CARGO_MANIFEST_DIR").into()
}

/// Every file below a folder with this ending, by its path from the root.
fn files(below: &str, ending: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(below)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap().flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == ending) {
                found.push(path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned());
            }
        }
    }
    found.sort();
    assert!(!found.is_empty(), "nothing in {below}");
    found
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap()
}

/// Code without comments, and the texts that stood in it.
fn code(source: &str) -> (String, Vec<String>) {
    let (mut code, mut texts) = (String::new(), Vec::new());
    let mut rest = source;
    while let Some(c) = rest.chars().next() {
        let raw = rest.starts_with("r\"") || rest.starts_with("r#");
        if rest.starts_with("//") {
            rest = rest.find('\n').map_or("", |end| &rest[end..]);
        } else if rest.starts_with("/*") {
            rest = rest.find("*/").map_or("", |end| &rest[end + 2..]);
        } else if raw && !code.ends_with(|c: char| c.is_alphanumeric() || c == '_') {
            let hashes = rest[1..].chars().take_while(|c| *c == '#').count();
            let Some(body) = rest[1 + hashes..].strip_prefix('"') else {
                // `r#type`
                code.push_str(&rest[..2]);
                rest = &rest[2..];
                continue;
            };
            let end = body.find(&format!("\"{}", "#".repeat(hashes))).unwrap();
            texts.push(body[..end].to_owned());
            code.push_str("\"\"");
            rest = &body[end + 1 + hashes..];
        } else if c == '"' {
            let mut end = 1;
            while !rest[end..].starts_with('"') {
                end += if rest[end..].starts_with('\\') { 1 } else { 0 };
                end += rest[end..].chars().next().unwrap().len_utf8();
            }
            texts.push(rest[1..end].to_owned());
            code.push_str("\"\"");
            rest = &rest[end + 1..];
        } else if c == '\'' {
            // A character, or the name of a life time.
            let inner = rest[1..].chars().next().unwrap();
            let end = match inner {
                '\\' => rest[3..].find('\'').map(|end| end + 4),
                inner => rest[1 + inner.len_utf8()..].starts_with('\'').then_some(2 + inner.len_utf8()),
            };
            rest = &rest[end.unwrap_or(1)..];
        } else {
            code.push(c);
            rest = &rest[c.len_utf8()..];
        }
    }
    (code, texts)
}

/// The paths that begin with a word, as `a::b`: `word::a::b`, and each of `word::{a::b, c}`.
fn paths(code: &str, word: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (at, _) in code.match_indices(&format!("{word}::")) {
        let part_of_a_name = code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':');
        if !part_of_a_name {
            branches(&code[at + word.len() + 2..], "", &mut found);
        }
    }
    found
}

/// Reads a path with its branches; what follows it.
fn branches<'c>(mut code: &'c str, before: &str, found: &mut Vec<String>) -> &'c str {
    code = code.trim_start();
    if let Some(inside) = code.strip_prefix('{') {
        code = inside;
        loop {
            code = code.trim_start();
            if let Some(rest) = code.strip_prefix('}') {
                return rest;
            }
            let rest = branches(code, before, found).trim_start();
            assert!(rest.len() < code.len(), "{code:.60}");
            code = rest.strip_prefix(',').unwrap_or(rest);
        }
    }
    let end = code.find(|c: char| !c.is_alphanumeric() && c != '_' && c != '*').unwrap_or(code.len());
    let path = if before.is_empty() { code[..end].to_owned() } else { format!("{before}::{}", &code[..end]) };
    let mut rest = &code[end..];
    if let Some(alias) = rest.trim_start().strip_prefix("as ") {
        let alias = alias.trim_start();
        rest = &alias[alias.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(alias.len())..];
    }
    match rest.strip_prefix("::") {
        Some(rest) => branches(rest, &path, found),
        None => {
            found.push(path);
            rest
        }
    }
}

/// The paths inside this crate that a file names, from the crate's root: `crate::…`, and `super::…` as far as it gets there.
fn named(path: &str, code: &str) -> Vec<String> {
    let mut found = paths(code, "crate");
    let module = path.strip_prefix("src/").unwrap().trim_end_matches(".rs").trim_end_matches("/mod");
    let depth = module.split('/').count();
    let up = vec!["super"; depth].join("::");
    // From an inner module, the tests' say, one more leads to the same place.
    found.extend(paths(code, &up));
    found.extend(paths(code, &format!("super::{up}")));
    found
}

/// Each module with those that it may name; each of them stands above it, so nothing can go round in a circle.
const MAY_NAME: &[(&str, &[&str])] = &[
    ("plain", &[]),
    ("crash", &[]),
    ("diagnostic", &["plain"]),
    ("failure", &[]),
    ("key", &[]),
    ("condition", &["plain", "diagnostic"]),
    ("journal", &["plain", "crash", "failure", "key"]),
    ("resource", &["plain", "failure", "condition", "journal"]),
    ("package", &["diagnostic", "resource"]),
    ("site", &["plain", "diagnostic", "key", "condition", "package", "resource"]),
    ("gate", &["crash", "journal", "resource"]),
    ("capability", &["plain", "condition", "journal", "gate", "resource"]),
    ("session", &["journal", "resource", "gate", "capability"]),
    ("run", &["plain", "failure", "journal", "resource", "gate", "capability", "session"]),
    ("dry", &["diagnostic", "failure", "key", "journal", "package", "resource", "gate", "session", "run"]),
    ("report", &["plain", "condition", "journal", "resource", "dry"]),
    (
        "rehearse",
        &[
            "crash",
            "diagnostic",
            "failure",
            "journal",
            "report",
            "package",
            "resource",
            "site",
            "gate",
            "session",
            "run",
            "dry",
        ],
    ),
    (
        "cli",
        &[
            "plain",
            "crash",
            "diagnostic",
            "failure",
            "key",
            "condition",
            "journal",
            "resource",
            "report",
            "package",
            "site",
            "gate",
            "capability",
            "session",
            "run",
            "dry",
            "rehearse",
        ],
    ),
];

#[test]
fn imports_point_one_way() {
    for (n, (module, others)) in MAY_NAME.iter().enumerate() {
        for other in *others {
            assert!(MAY_NAME[..n].iter().any(|(above, _)| above == other), "{other} does not stand above {module}");
        }
    }
    let allowed: BTreeMap<&str, &[&str]> = MAY_NAME.iter().copied().collect();
    let mut wrong = Vec::new();
    for path in files("src", "rs").iter().filter(|p| !matches!(p.as_str(), "src/lib.rs" | "src/main.rs")) {
        let module = path.strip_prefix("src/").unwrap().split(['/', '.']).next().unwrap();
        let may = *allowed.get(module).unwrap_or_else(|| panic!("{module} has no place in the line"));
        let (code, _) = code(&read(path));
        for named in named(path, &code) {
            let other = named.split("::").next().unwrap();
            if allowed.contains_key(other) && other != module && !may.contains(&other) {
                wrong.push(format!("{path} names crate::{named}"));
            }
        }
    }
    assert_eq!(wrong, [""; 0]);
}

#[test]
fn the_reader_of_sources_reads_what_stands_there() {
    let source = r##"
        use crate::{a::{b, c as d}, e, f::*}; // crate::comment
        use super::super::g; /* crate::comment */
        const T: &str = "crate::text \" more"; const R: &str = r#"crate::"raw""#; let c = '"'; let l: &'a str = r"x";
        fn r#type() { $crate::h::i!(crate::capability::types) }
    "##;
    let (code, texts) = code(source);
    assert_eq!(texts, [r#"crate::text \" more"#, r#"crate::"raw""#, "x"]);
    assert_eq!(paths(&code, "crate"), ["a::b", "a::c", "e", "f::*", "h::i", "capability::types"]);
    assert_eq!(named("src/x/y.rs", "use super::super::g; use super::z;"), ["g"]);
    assert_eq!(named("src/x/mod.rs", "mod tests { use super::super::g; }"), ["super::g", "g"]);
}

#[test]
fn a_report_never_sees_a_driver() {
    for path in files("src/report", "rs") {
        let (code, _) = code(&read(&path));
        let words: BTreeSet<&str> = code.split(|c: char| !c.is_alphanumeric() && c != '_').collect();
        for word in ["drivers", "Observer", "Mutator", "Observe", "Mutate", "Access", "Resources"] {
            assert!(!words.contains(word), "{path} speaks of {word}");
        }
    }
}

/// What is told from the journal is a run's memory; a driver has its witness.
#[test]
fn of_the_resources_only_the_run_knows_the_journal() {
    for path in files("src/resource", "rs").iter().filter(|path| !path.starts_with("src/resource/run/")) {
        let (code, _) = code(&read(path));
        assert!(!named(path, &code).iter().any(|named| named.starts_with("journal")), "{path} names the journal");
    }
}

#[test]
fn the_journal_knows_no_capability() {
    for path in files("src/journal", "rs") {
        let (_, texts) = code(&read(&path));
        for name in backout::capability::NAMES {
            let begin = format!("{name}.");
            assert!(!texts.iter().any(|text| text.starts_with(&begin)), "{path} knows {name}");
        }
    }
}

/// Who may write to the terminal, or to what stands for it.
const WRITERS: &[(&str, &str)] = &[
    ("src/cli/ui.rs", "it is the one place"),
    ("src/cli/demo/stage.rs", "hands its standard error on to the commands that it plays"),
    ("src/cli/demo/shop/log.rs", "the demo's product is a program of its own"),
    ("src/resource/process/launch.rs", "the child that becomes a service's or tool's program, when it cannot"),
    ("src/resource/tool/drivers/guard.rs", "the child that hands a tool's output on"),
];

#[test]
fn one_place_writes_to_the_terminal() {
    const WORDS: &[&str] =
        &["print!", "println!", "eprint!", "eprintln!", "dbg!", "io::stdout", "io::stderr", "Term::"];
    let mut writers = BTreeSet::new();
    for path in files("src", "rs") {
        let (code, _) = code(&read(&path));
        let imported = paths(&code, "io").iter().any(|p| p == "stdout" || p == "stderr");
        if imported || WORDS.iter().any(|word| code.contains(word)) {
            writers.insert(path);
        }
    }
    let allowed: BTreeSet<String> = WRITERS.iter().map(|(path, _)| (*path).to_owned()).collect();
    assert_eq!(writers, allowed);
}

/// Who opens a path as a whole where a script's paths arrive: a path may be led elsewhere on the way by whoever can put a link
/// there, so everything goes name by name, below folders that are open already.
const OPENERS: &[(&str, &str)] = &[
    ("src/resource/tree/drivers/directory/place.rs", "where the tree itself is, the site says"),
    ("src/resource/tree/drivers/directory/standby.rs", "where Backout's state is, the site says"),
    ("src/resource/tree/drivers/directory/unpack.rs", "where a payload is, Backout itself found out"),
];

#[test]
fn paths_of_scripts_are_followed_name_by_name() {
    const WORDS: &[&str] = &["File::open(", "File::create(", "canonicalize(", "open_ambient", "tokio::fs"];
    const CALLS: &[&str] =
        &["read", "write", "copy", "rename", "remove", "create", "symlink", "hard_link", "metadata", "exists", "set_"];
    let mut openers = BTreeSet::new();
    for path in files("src/resource/tree/drivers/directory", "rs") {
        let (code, _) = code(&read(&path));
        let code = code.split("#[cfg(test)]").next().unwrap();
        let by_path = code.match_indices("fs::").any(|(at, _)| {
            let theirs = ["rustix::", "cap_std::"].iter().any(|other| code[..at].ends_with(other));
            !theirs && CALLS.iter().any(|call| code[at + 4..].starts_with(call))
        });
        if by_path || WORDS.iter().any(|word| code.contains(word)) {
            openers.insert(path);
        }
    }
    let allowed: BTreeSet<String> = OPENERS.iter().map(|(path, _)| (*path).to_owned()).collect();
    assert_eq!(openers, allowed);
}

/// Where the compiler is told that it cannot know, each with its reason beside it.
#[test]
fn unsafe_code_stands_in_three_places() {
    let unsafe_code = files("src", "rs").into_iter().filter(|path| {
        let (code, _) = code(&read(path));
        code.split(|c: char| !c.is_alphanumeric() && c != '_').any(|word| word == "unsafe")
    });
    assert_eq!(
        unsafe_code.collect::<Vec<_>>(),
        ["src/resource/process/helper.rs", "src/resource/process/text.rs", "src/session/cache.rs"]
    );
}

/// Files of a capability beside the three that each has.
const MORE: &[(&str, &str)] = &[
    ("backup/restore_point.rs", "which snapshot a label means is the restore point's to say"),
    ("metrics/comparing.rs", "what samples say against a baseline"),
    ("metrics/facts.rs", "what conditions may speak of, from what a resource has"),
    ("metrics/promql.rs", "what a query of a script's own may cost"),
    ("metrics/sampling.rs", "samples in the course of time"),
    ("metrics/shift.rs", "the method of a comparison, with its sources"),
    ("metrics/watching.rs", "how samples become a verdict"),
    ("probe/answer.rs", "what conditions may speak of in an answer"),
];

#[test]
fn capabilities_are_of_one_shape() {
    for name in backout::capability::NAMES {
        let folder = format!("src/capability/{name}");
        let mut found: Vec<String> =
            files(&folder, "rs").iter().map(|p| p.strip_prefix(&format!("{folder}/")).unwrap().to_owned()).collect();
        found.retain(|file| !MORE.iter().any(|(more, _)| *more == format!("{name}/{file}")));
        assert_eq!(found, ["host.rs", "mod.rs", "ops.rs"], "{folder}");
        let (code, _) = code(&read(&format!("{folder}/mod.rs")));
        let no_logic = code.lines().map(str::trim).filter(|line| !line.is_empty()).all(|line| {
            ["mod ", "pub mod ", "pub(crate) mod ", "use ", "pub use "].iter().any(|word| line.starts_with(word))
        });
        assert!(no_logic, "{folder}/mod.rs has logic");
    }
    for (more, _) in MORE {
        assert!(root().join("src/capability").join(more).exists(), "{more} is gone, and so is the reason for it");
    }
}

/// What only the host does with an interface's resources.
const OF_THE_HOST: &[&str] = &[
    "backup.count",
    "backup.inspect",
    "backup.settle",
    "backup.discard",
    "backup.keep",
    "backup.is-fenced",
    "database.check-revision",
];

#[test]
fn world_registry_folders_and_operations_name_the_same() {
    let sorted = |names: &mut dyn Iterator<Item = String>| names.collect::<BTreeSet<String>>();
    let registered = sorted(&mut backout::capability::NAMES.iter().map(|name| name.replace('_', "-")));
    let world = read("wit/world.wit");
    let imports = world.lines().filter_map(|line| line.trim().strip_prefix("import ")?.strip_suffix(';'));
    assert_eq!(sorted(&mut imports.map(str::to_owned)), registered, "imports of the world");
    let name = |path: &String| Path::new(path).file_stem().unwrap().to_str().unwrap().to_owned();
    let interfaces = files("wit", "wit")
        .iter()
        .map(name)
        .filter(|n| !matches!(n.as_str(), "types" | "world" | "life-cycle"))
        .collect::<Vec<_>>();
    assert_eq!(sorted(&mut interfaces.iter().cloned()), registered, "files in wit/");
    let folders = fs::read_dir(root().join("src/capability")).unwrap().flatten().filter(|e| e.path().is_dir());
    let folders = folders.map(|e| e.file_name().to_str().unwrap().replace('_', "-"));
    assert_eq!(sorted(&mut folders.into_iter()), registered, "folders in src/capability");

    for interface in interfaces {
        let wit = read(&format!("wit/{interface}.wit"));
        let functions = wit.lines().filter_map(|line| {
            let (name, what) = line.trim().split_once(": ")?;
            what.starts_with("func(").then(|| format!("{interface}.{}", name.trim_start_matches('%')))
        });
        let ops = read(&format!("src/capability/{}/ops.rs", interface.replace('-', "_")));
        let operations = ops.split("const NAME: &'static str = \"").skip(1).map(|rest| rest.split('"').next().unwrap());
        let operations = operations.filter(|name| !OF_THE_HOST.contains(name)).map(str::to_owned);
        assert_eq!(sorted(&mut operations.into_iter()), sorted(&mut functions.into_iter()), "{interface}");
    }
}

/// Lines that a file may have before it is split by meaning.
const LINES: &[(&str, usize)] = &[("src", 600), ("tests", 600)];

#[test]
fn no_file_is_too_long_to_read() {
    for (folder, limit) in LINES {
        for path in files(folder, "rs").iter().filter(|path| !path.starts_with("tests/guests/")) {
            let lines = read(path).lines().count();
            assert!(lines <= *limit, "{path} has {lines} lines, the limit is {limit}");
        }
    }
}

/// A file that nobody declares is neither compiled nor run.
#[test]
fn every_file_is_declared() {
    for path in files("src", "rs").into_iter().chain(files("tests/it", "rs")) {
        let (folder, name) = path.rsplit_once('/').unwrap();
        if matches!(path.as_str(), "src/lib.rs" | "src/main.rs" | "tests/it/main.rs") {
            continue;
        }
        let (folder, module) = match name {
            "mod.rs" => folder.rsplit_once('/').unwrap(),
            name => (folder, name.strip_suffix(".rs").unwrap()),
        };
        let parents = [
            format!("{folder}/mod.rs"),
            format!("{folder}.rs"),
            format!("{folder}/lib.rs"),
            format!("{folder}/main.rs"),
        ];
        let parents: Vec<String> = parents.into_iter().filter(|p| root().join(p).exists()).collect();
        let declared = parents.iter().any(|parent| {
            let (code, _) = code(&read(parent));
            let declares = |line: &str| {
                let line = line.trim();
                let line = line
                    .strip_prefix("pub")
                    .map_or(line, |rest| rest.trim_start_matches("(crate)").trim_start_matches("(super)"))
                    .trim_start();
                line.strip_prefix("mod ").is_some_and(|rest| rest.trim_end().strip_suffix(';') == Some(module))
            };
            // Lists of modules: `commands! { Runs(runs) }`, `capabilities! { backup, }`, `kinds! { tree: Tree, }`.
            let listed = [format!("{module},"), format!("{module}:")];
            code.lines().any(declares) || code.lines().any(|line| listed.iter().any(|l| line.trim().starts_with(l)))
        });
        assert!(declared, "{path} is declared nowhere ({parents:?})");
    }
}
