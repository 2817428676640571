use super::{
    Exit, Global, Refused,
    dry::{self, Dry},
    pipeline::Pipeline,
    rehearsed,
    schema::{self, Looked},
    state, ui,
};
use crate::{
    diagnostic::{Mistake, shown},
    dry::{
        Finding, Rule, Scenario, Stage, plan, plan_to_keep,
        saved::{self, Bound, Saved},
    },
    rehearse,
    report::{self, annotation, text},
    resource::{CallCtx, Database, Kind, Right, Tree, room},
    site::Site,
};
use anyhow::Context;
use std::{
    path::{Path, PathBuf},
    time::Duration,
};

/// Show what an upgrade would do, and what would take it back; touches nothing
///
/// Leads the script through its whole life cycle in a simulated world: what is really there is looked at until the script has
/// changed it, and from then on the simulation answers. What only the changed world could say is assumed, and listed. Where
/// anything speaks against it, that is a finding (exit code 10).
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    dry: Dry,
    /// The world of a plan without a site, as `[given]` of this scenario has it
    #[arg(long, value_name = "FILE", requires = "offline")]
    scenario: Option<PathBuf>,
    /// Keep the plan in a file, for approval and `backout upgrade --plan`
    #[arg(long, value_name = "FILE")]
    save: Option<PathBuf>,
    /// Show the plan as Markdown, for a pull request
    #[arg(long, conflicts_with = "json")]
    markdown: bool,
    #[command(flatten)]
    pipeline: Pipeline,
}

impl Args {
    pub fn execute(self, global: &Global) -> anyhow::Result<Exit> {
        if let Some(file) = &self.save {
            self.refuse_to_save(file)?;
        }
        let stage = self.stage(global).inspect_err(|error| self.pipeline.refuse(error))?;
        let (mut plan, bound) = dry::wait(async {
            let plan = if self.save.is_some() { plan_to_keep(&stage).await } else { plan(&stage).await };
            (plan, bound(&stage).await)
        })?;
        if !self.dry.offline {
            let site = Site::load(&global.site)?;
            dry::wait(sizes(&stage, &site))?.iter().for_each(|line| ui::say(line));
            plan.findings.extend(rehearsed::finding(&site, &stage.package)?);
        }
        // Of a version that is only supposed nobody knows the schemas.
        if self.dry.from.is_none() {
            plan.findings.extend(dry::wait(no_start(&stage))?);
        }
        match (global.json, self.markdown) {
            (true, _) => ui::json(&plan)?,
            (_, true) => ui::result(&report::plan::markdown(&plan)),
            _ => ui::result(&report::plan::text(&plan)),
        }
        let annotations = annotation::of_findings(&plan.findings, &dry::manifest(&self.dry.package));
        self.pipeline.tell(annotations, || report::plan::markdown(&plan));
        let exit = if plan.findings.is_empty() { Exit::Done } else { Exit::Findings };
        if let Some(file) = &self.save {
            let text = Saved::new(bound, plan).text()?;
            let name = shown(&file.display().to_string());
            state::write_whole(file, &text).with_context(|| format!("write the plan to {name}"))?;
            ui::say(&format!("the plan is saved as {name}"));
        }
        Ok(exit)
    }

    fn stage(&self, global: &Global) -> anyhow::Result<Stage> {
        let mut stage = self.dry.stage(global)?;
        if let Some(file) = &self.scenario {
            let given = Scenario::open(file, &stage.package)?.given;
            if let Some(version) = given.version.as_ref().filter(|_| self.dry.from.is_none()) {
                stage.facts.from_version.clone_from(version);
                stage.header.from_version.clone_from(version);
            }
            stage.given = given;
        }
        Ok(stage)
    }

    fn refuse_to_save(&self, file: &Path) -> anyhow::Result<()> {
        let message = match (self.dry.offline, &self.dry.from) {
            (true, _) => "a plan in an invented world cannot be saved: there is nothing that it could be bound to",
            (_, Some(_)) => "a plan from a version that is only supposed cannot be saved",
            _ if file.symlink_metadata().is_ok_and(|about| !about.is_file()) => {
                let message = format!("{} is there, and is no file", shown(&file.display().to_string()));
                return Err(Refused::new(message).hint("name another file with `--save`").into());
            }
            _ => return Ok(()),
        };
        Err(Refused::new(message).hint("make it on the site that is to be upgraded, or leave `--save` out").into())
    }
}

/// Schemas from which the package does not go.
async fn no_start(stage: &Stage) -> Vec<Finding> {
    let Some(real) = &stage.real else { return Vec::new() };
    let mistakes = schema::seen(&stage.package, real).await.iter().filter_map(Looked::no_start).collect::<Vec<_>>();
    let finding = |mistake: Mistake| Finding {
        rule: Rule::OtherSchema,
        text: mistake.message,
        hint: mistake.hint.unwrap_or_default(),
        path: None,
    };
    mistakes.into_iter().map(finding).collect()
}

/// What a copy of each database and tree takes, of what is free where it is. It changes from one moment to the next, so it is
/// told beside the plan.
async fn sizes(stage: &Stage, site: &Site) -> Vec<String> {
    let Some(real) = &stage.real else { return Vec::new() };
    let databases = real.database.values().filter(|seen| seen.rights.contains(Right::Backup)).map(|seen| &seen.id);
    let trees = real.tree.values().filter(|seen| seen.rights.contains(Right::Backup)).map(|seen| &seen.id);
    let call = CallCtx::aside("plan/sizes".to_owned(), Duration::from_secs(60));
    let mut lines = Vec::new();
    for id in databases.chain(trees) {
        let path = match (site.databases.get(&id.name), site.trees.get(&id.name)) {
            (Some(section), _) if id.kind == Database::NAME => match section.driver.path() {
                Some(path) => path,
                // Its room is the server's.
                None => continue,
            },
            (_, Some(section)) if id.kind == Tree::NAME => section.path.as_path(),
            _ => continue,
        };
        // What cannot be looked at is a finding of the plan already.
        if let (Ok(need), Some(folder)) = (rehearse::need(site, id, &call).await, path.parent()) {
            let (bytes, free) = (text::bytes(need.bytes), text::bytes(room::left(folder)));
            let archive = match id.kind.as_str() {
                Tree::NAME => site.trees.get(&id.name).and_then(|tree| tree.archive.as_ref()),
                _ => site.databases.get(&id.name).and_then(|database| database.method.repository()),
            };
            lines.push(match archive {
                Some(repository) => format!(
                    "an archive of {} {} takes at most {bytes} in repository {} (free {}), and going back to it {bytes} beside it (free {free})",
                    id.kind,
                    id.name,
                    repository.name,
                    text::bytes(room::left(&repository.path)),
                ),
                None => format!("a copy of {} {} takes {bytes} (free {free})", id.kind, id.name),
            });
        }
    }
    lines
}

async fn bound(stage: &Stage) -> Bound {
    Bound {
        package: stage.facts.package.clone(),
        version: stage.facts.version.clone(),
        digest: stage.package.digest.clone(),
        from_version: stage.facts.from_version.clone(),
        settings: stage.facts.settings.clone(),
        sections: stage.header.sections.clone(),
        services: match &stage.real {
            Some(real) => saved::services(real.service.values().map(|seen| (&seen.id, &*seen.observer))).await,
            None => Default::default(),
        },
        schemas: match &stage.real {
            Some(real) => saved::schemas(real.database.values().map(|seen| (&seen.id, &*seen.observer))).await,
            None => Default::default(),
        },
    }
}
