//! The plan that was accepted: a file of the package, which a later plan is held against.
use super::check::{Difference, Test};
use crate::{
    diagnostic::{
        Mistake, Mistakes, Source,
        reader::{self, read_bounded},
        shown,
    },
    package::Package,
};
use similar::{ChangeTag, TextDiff};
use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

/// Beside the scenarios.
pub const FILE: &str = "plan.txt";

/// Lines of a difference that are told.
const MOST: usize = 200;

/// For which the shortest difference is looked for.
const PATIENCE: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub struct Golden {
    /// for people
    pub file: String,
    pub text: String,
}

impl Golden {
    /// `None`: nobody has accepted any.
    pub fn of(package: &Package) -> Result<Option<Self>, Mistakes> {
        let path = place(package)?;
        if path.symlink_metadata().is_err() {
            return Ok(None);
        }
        let bytes = read_bounded(&path, reader::MAX_FILE, "the accepted plan")?;
        let source = Source::new(name(package), bytes);
        let file = source.name().to_owned();
        match source.broken() {
            None => Ok(Some(Self { file, text: source.text().to_owned() })),
            Some(_) => {
                let mistake = Mistake::new(format!("the accepted plan {file} is not UTF-8"));
                Err(mistake.hint("`backout test --accept` writes it anew").into())
            }
        }
    }

    pub fn holds(&self, plan: &str) -> bool {
        self.text.lines().eq(plan.lines())
    }

    pub fn check(&self, plan: &str) -> Test {
        let began = Instant::now();
        let (mut differences, mut diff) = (Vec::new(), Vec::new());
        if !self.holds(plan) {
            let line;
            (line, diff) = self.difference(plan);
            let (expected, is) = ("the plan that was accepted".to_owned(), "another one".to_owned());
            differences.push(Difference { expected, is, line });
        }
        Test {
            name: "plan".to_owned(),
            file: self.file.clone(),
            about: "the plan is the one that was accepted".to_owned(),
            came_to: if diff.is_empty() { "as accepted".to_owned() } else { "not as accepted".to_owned() },
            differences,
            diff,
            happened: Vec::new(),
            findings: Vec::new(),
            millis: u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
        }
    }

    /// The first line of the file that differs, counted from 1, and the lines of a unified difference.
    fn difference(&self, plan: &str) -> (Option<usize>, Vec<String>) {
        let lines = |text: &str| text.lines().map(|line| format!("{line}\n")).collect::<String>();
        let (was, is) = (lines(&self.text), lines(plan));
        let diff = TextDiff::configure().timeout(PATIENCE).diff_lines(was.as_str(), is.as_str());
        let same = diff.iter_all_changes().take_while(|change| change.tag() == ChangeTag::Equal).count();
        let hunks = diff.unified_diff().context_radius(2).to_string();
        let mut told: Vec<String> = hunks.lines().take(MOST).map(str::to_owned).collect();
        told.extend(match hunks.lines().count().saturating_sub(MOST) {
            0 => None,
            more => Some(format!("… and {more} lines more")),
        });
        let last = self.text.lines().count().max(1);
        (Some((same + 1).min(last)), told)
    }
}

/// Where it stands. A link there could lead out of the package.
pub fn place(package: &Package) -> Result<PathBuf, Mistakes> {
    let folder = package.dir.join("tests");
    let file = folder.join(FILE);
    let links = [&folder, &file];
    let Some(link) = links.iter().find(|path| path.is_symlink()) else { return Ok(file) };
    let link = shown(&link.strip_prefix(&package.dir).unwrap_or(link).display().to_string());
    let mistake = Mistake::new(format!("{link} is a link: the accepted plan is not read or written there"));
    Err(mistake.hint("put the file itself into the package").into())
}

/// As people have named the package.
pub fn name(package: &Package) -> String {
    tests_of(package).join(FILE).display().to_string()
}

/// The folder of the tests, as people have named the package.
pub(super) fn tests_of(package: &Package) -> PathBuf {
    let named = Path::new(&package.named);
    let folder = if named.is_dir() { Some(named) } else { named.parent() };
    folder.unwrap_or(Path::new("")).join("tests")
}
