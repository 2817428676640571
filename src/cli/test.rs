use super::{
    Exit, Global,
    dry::{self, Dry},
    pipeline::Pipeline,
    state, ui,
};
use crate::{
    diagnostic::shown,
    dry::{
        Bounds, Tested, Tests, check,
        golden::{self, Golden},
        plan,
    },
    package::Package,
    report::{
        self, annotation,
        junit::{Suite, junit},
    },
};
use anyhow::Context;
use std::{
    fs,
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
    /// Accept the plan as it is: write it into `tests/plan.txt` of the package, against which later ones are held
    #[arg(long)]
    accept: bool,
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
        let golden = if self.accept { None } else { Golden::of(&stage.package)? };
        let planned = match self.accept || golden.is_some() {
            true => Some(report::plan::text(&dry::wait(plan(&stage))?)),
            false => None,
        };
        let golden = match &planned {
            Some(planned) if self.accept => Some(self.accept(&stage.package, planned)?),
            _ => golden,
        };
        let mut tested = dry::wait(check(&mut stage, &tests, bounds))?;
        if let Some((golden, planned)) = golden.zip(planned) {
            tested.add(golden.check(&planned));
        }
        Ok(tested)
    }

    /// What stood there is told by whoever keeps the versions of the package.
    fn accept(&self, package: &Package, planned: &str) -> anyhow::Result<Golden> {
        let path = golden::place(package)?;
        let name = golden::name(package);
        let shown = shown(&name);
        if path.is_file() && fs::read_to_string(&path).is_ok_and(|text| text == planned) {
            ui::say(&format!("{shown} has this plan already"));
        } else {
            let write = || {
                path.parent().map_or(Ok(()), fs::create_dir_all)?;
                state::write_for_all(&path, planned)
            };
            write().with_context(|| format!("write the plan to {shown}"))?;
            ui::say(&format!("the plan is accepted, and written to {shown}"));
            if self.pipeline.is_one() {
                ui::say("  this is a pipeline: the plan counts when somebody has looked at it and committed the file");
            }
        }
        Ok(Golden { file: name, text: planned.to_owned() })
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
