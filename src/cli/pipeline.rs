//! What a pipeline is told unasked: annotations beside the lines of files, and a page in the summary of its step.
use super::ui;
use crate::{diagnostic::Mistakes, report::annotation::Annotation};
use anyhow::Context;
use std::{
    ffi::OsString,
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
};

/// What GitHub Actions keeps of the summary of a step. Of a longer one it keeps nothing.
const MOST: u64 = 1 << 20;
const CUT: &str = "\n\n**The rest is left out: a summary holds no more. The log has all of it.**\n";

/// As GitHub Actions sets them, and the first one as every pipeline does.
#[derive(Clone, Debug, clap::Args)]
pub struct Pipeline {
    #[arg(long, hide = true, env = "CI")]
    in_pipeline: Option<OsString>,
    #[arg(long, hide = true, env = "GITHUB_ACTIONS")]
    github_actions: Option<OsString>,
    #[arg(long, hide = true, env = "GITHUB_STEP_SUMMARY")]
    github_step_summary: Option<OsString>,
    #[arg(long, hide = true, env = "GITHUB_WORKSPACE")]
    github_workspace: Option<OsString>,
}

impl Pipeline {
    fn is_there(&self) -> bool {
        self.github_actions.as_ref().is_some_and(|set| set == "true")
    }

    /// Nobody looks on.
    pub fn is_one(&self) -> bool {
        let set = |value: &OsString| !value.is_empty() && value != "false";
        self.is_there() || self.in_pipeline.as_ref().is_some_and(set)
    }

    /// What was found. A page that cannot be written changes nothing of that.
    pub fn tell(&self, annotations: Vec<Annotation>, page: impl FnOnce() -> String) {
        if !self.is_there() {
            return;
        }
        self.annotate(annotations);
        let file = self.github_step_summary.as_ref().filter(|file| !file.is_empty());
        let written = file.map_or(Ok(()), |file| append(Path::new(file), &page()));
        if let Err(error) = written.context("write into the summary of this step") {
            ui::warn(&error, None);
        }
    }

    /// Mistakes in files, which stand in the way of everything else.
    pub fn refuse(&self, error: &anyhow::Error) {
        let Some(Mistakes(mistakes)) = error.downcast_ref::<Mistakes>().filter(|_| self.is_there()) else { return };
        let of = |mistake: &crate::diagnostic::Mistake| {
            let location = mistake.location.as_ref()?;
            Some(Annotation {
                file: location.source.name().to_owned(),
                line: Some(location.line_and_column().0),
                title: "mistake".to_owned(),
                message: [&mistake.message].into_iter().chain(&mistake.hint).cloned().collect(),
            })
        };
        self.annotate(mistakes.iter().filter_map(of).collect());
    }

    fn annotate(&self, annotations: Vec<Annotation>) {
        for annotation in annotations {
            ui::annotate(&Annotation { file: self.place(&annotation.file), ..annotation });
        }
    }

    /// From the folder that holds what is tested, as the pipeline names its files.
    fn place(&self, file: &str) -> String {
        let whole = |path: &Path| fs::canonicalize(path).or_else(|_| std::path::absolute(path));
        let workspace = self.github_workspace.as_ref().filter(|folder| !folder.is_empty()).map(PathBuf::from);
        let below = || {
            let (path, workspace) = (whole(Path::new(file)).ok()?, whole(&workspace?).ok()?);
            Some(path.strip_prefix(workspace).ok()?.display().to_string())
        };
        below().unwrap_or_else(|| file.to_owned())
    }
}

/// What others have written there stays.
fn append(file: &Path, page: &str) -> io::Result<()> {
    match file.metadata() {
        Ok(about) if !about.is_file() => return Err(io::Error::other("it is no file")),
        _ => {}
    }
    let mut file = File::options().append(true).create(true).open(file)?;
    let room = usize::try_from(MOST.saturating_sub(file.metadata()?.len())).unwrap_or(0);
    let page = format!("\n{page}");
    if page.len() <= room {
        return file.write_all(page.as_bytes());
    }
    let Some(most) = room.checked_sub(CUT.len()) else { return Err(io::Error::other("there is no more room in it")) };
    // Whole lines, of which the first one is empty.
    let end = page.as_bytes()[..most].iter().rposition(|byte| *byte == b'\n').unwrap_or(0);
    file.write_all(format!("{}{CUT}", &page[..end]).as_bytes())
}
