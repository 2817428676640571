use super::{
    Exit, Global,
    dry::{self, Dry},
    ui,
};
use crate::{
    dry::{Bounds, Test, Tested, Tests, check},
    report::text,
};
use std::{fmt::Write, path::PathBuf, time::Duration};

/// Play the package's own tests and the built-in rules, in a simulated world
///
/// Each file of the package's folder `tests` is one scenario: which calls fail, and what must come of it. `tests/rules.toml`
/// switches rules of `explore` off, each with a reason. A package without tests is tested by the rules alone. It looks at no
/// site. What does not hold is a finding (exit code 10).
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The package: a folder with a package.toml
    #[arg(default_value = ".")]
    package: PathBuf,
    /// Where compiled scripts are kept; without it the user's cache
    #[arg(long, value_name = "FOLDER", env = "BACKOUT_CACHE")]
    cache: Option<PathBuf>,
    /// Paths to play at the most for the rules
    #[arg(long, value_name = "NUMBER", default_value_t = 5_000)]
    paths: usize,
    /// Seconds to take at the most for the rules
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    seconds: u64,
}

impl Args {
    pub fn execute(self, global: &Global) -> anyhow::Result<Exit> {
        let mut stage = Dry { package: self.package, offline: true, from: None, cache: self.cache }.stage(global)?;
        let tests = Tests::of(&stage.package)?;
        let bounds = Bounds { paths: self.paths, time: Duration::from_secs(self.seconds), ..Bounds::default() };
        let tested = dry::wait(check(&mut stage, &tests, bounds))?;
        match global.json {
            true => ui::json(&tested)?,
            false => ui::result(&summary(&tested)),
        }
        Ok(if tested.failed == 0 { Exit::Done } else { Exit::Findings })
    }
}

fn summary(tested: &Tested) -> String {
    let mut out = String::new();
    let widest = tested.tests.iter().map(|test| test.name.chars().count()).max().unwrap_or_default();
    tested.tests.iter().for_each(|test| one(&mut out, test, widest));
    // Writing into a string cannot fail.
    if tested.left_out > 0 {
        let _ = writeln!(
            out,
            "left out: {} that were known of, and what follows from them (--paths, --seconds)",
            text::counted(tested.left_out as u64, "path", "paths")
        );
    }
    let time = tested.tests.iter().map(|test| test.millis).sum();
    let _ = writeln!(
        out,
        "{} passed, {} failed · {}, {} in {}",
        tested.passed,
        tested.failed,
        text::counted(tested.tests.len() as u64, "test", "tests"),
        text::counted(tested.paths as u64, "path", "paths"),
        took(time)
    );
    out
}

fn one(out: &mut String, test: &Test, widest: usize) {
    let mark = if test.passed() { "✓" } else { "✗" };
    let came_to = text::line(&test.came_to, 200);
    let _ = writeln!(out, "{mark} {:<widest$}  {came_to}   {}", test.name, took(test.millis));
    let margin = " ".repeat(widest + 4);
    for difference in &test.differences {
        let (expected, is) = (text::line(&difference.expected, 200), text::line(&difference.is, 200));
        let _ = writeln!(out, "{margin}expected {expected}\n{margin}      is {is}");
    }
    for line in &test.happened {
        let _ = writeln!(out, "{margin}  {}", text::line(line, 400));
    }
    for finding in &test.findings {
        let path = finding.path.map(|path| format!("   (backout explore --offline --path {path})")).unwrap_or_default();
        let (rule, told) = (finding.rule.as_str(), text::line(&finding.text, 400));
        let _ = writeln!(out, "{margin}{rule}: {told}{path}\n{margin}  {}", text::line(&finding.hint, 400));
    }
}

fn took(millis: u64) -> String {
    if millis < 1000 { format!("{millis} ms") } else { format!("{:.1} s", Duration::from_millis(millis).as_secs_f64()) }
}
