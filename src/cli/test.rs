use super::{
    Exit, Global,
    dry::{self, Dry},
    pipeline::Pipeline,
    state, ui,
};
use crate::{
    diagnostic::shown,
    dry::{Bounds, Tested, Tests, check},
    report::{
        self, annotation,
        junit::{Suite, junit},
    },
};
use anyhow::Context;
use std::{
    path::{Path, PathBuf},
    time::Duration,
};

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
    /// Write the tests as JUnit XML too, also when some do not hold
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    #[command(flatten)]
    pipeline: Pipeline,
}

impl Args {
    pub fn execute(self, global: &Global) -> anyhow::Result<Exit> {
        let tested = self.tested(global);
        // Who reads the file must not take what an earlier run has left for this one.
        let written = self.junit.as_ref().map_or(Ok(()), |file| self.write(file, tested.as_ref()));
        if let (Err(_), Err(unwritten)) = (&tested, &written) {
            ui::warn(unwritten, None);
        }
        let tested = tested.inspect_err(|error| self.pipeline.refuse(error))?;
        match global.json {
            true => ui::json(&tested)?,
            false => ui::result(&report::tested::text(&tested)),
        }
        let annotations = annotation::of_tests(&tested, &dry::manifest(&self.package));
        self.pipeline.tell(annotations, || report::tested::markdown(&tested));
        written?;
        Ok(if tested.failed == 0 { Exit::Done } else { Exit::Findings })
    }

    fn tested(&self, global: &Global) -> anyhow::Result<Tested> {
        let (package, cache) = (self.package.clone(), self.cache.clone());
        let mut stage = Dry { package, offline: true, from: None, cache }.stage(global)?;
        let tests = Tests::of(&stage.package)?;
        let bounds = Bounds { paths: self.paths, time: Duration::from_secs(self.seconds), ..Bounds::default() };
        dry::wait(check(&mut stage, &tests, bounds))
    }

    fn write(&self, file: &Path, tested: Result<&Tested, &anyhow::Error>) -> anyhow::Result<()> {
        let junit = match tested {
            Ok(tested) => junit(&Suite::Tested(tested)),
            Err(why) => {
                junit(&Suite::Refused { package: &self.package.display().to_string(), why: &format!("{why:#}") })
            }
        };
        state::write_for_all(file, &junit?)
            .with_context(|| format!("write the tests to {}", shown(&file.display().to_string())))
    }
}
