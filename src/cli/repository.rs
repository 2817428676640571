use super::{Exit, Global, Refused, ui};
use crate::{
    diagnostic::shown,
    report::text,
    resource::{
        Failure,
        repository::{For, Repository},
    },
    site::Site,
};

/// Look after a repository that archives are kept in
///
/// With `method = "archive"` in the site, copies are written into a repository: deduplicated and encrypted, in restic's format, so
/// that restic can read it too.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Make one, where nothing is yet
    ///
    /// In the folder that the site names, with the password that the site names. Keep that somewhere else too: without it nobody can
    /// read what is in there.
    Create(Named),
    /// Read all that is in it, and say whether it is whole
    Check(Named),
}

#[derive(Debug, clap::Args)]
struct Named {
    /// The repository, as the site names it
    repository: String,
}

impl Args {
    pub fn execute(self, global: &Global) -> anyhow::Result<Exit> {
        let site = Site::load(&global.site)?;
        let (Command::Create(Named { repository: name }) | Command::Check(Named { repository: name })) = &self.command;
        let Some(repository) = site.repositories.get(name) else {
            let known: Vec<&str> = site.repositories.keys().map(String::as_str).collect();
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            let refused = Refused::new(format!("the site has no repository `{}`", shown(name)));
            return Err(refused.hint(format!("it has: {known}")).into());
        };
        match &self.command {
            Command::Create(_) => create(repository, global),
            Command::Check(_) => check(repository, global),
        }
    }
}

fn refused(failure: Failure) -> Refused {
    let refused = Refused::new(failure.message);
    match failure.hint {
        Some(hint) => refused.hint(hint),
        None => refused,
    }
}

fn create(repository: &Repository, global: &Global) -> anyhow::Result<Exit> {
    repository.create().map_err(refused)?;
    if global.json {
        ui::json(&serde_json::json!({ "repository": repository.name, "path": repository.path }))?;
    } else {
        let path = text::line(&repository.path.display().to_string(), 200);
        ui::result(&format!("✓ repository {} is made in {path}\n", repository.name));
    }
    Ok(Exit::Done)
}

fn check(repository: &Repository, global: &Global) -> anyhow::Result<Exit> {
    const SHOWN: usize = 10;
    let wrong = repository.open(For::Reading).and_then(|opened| opened.check()).map_err(refused)?;
    if global.json {
        ui::json(&serde_json::json!({ "repository": repository.name, "whole": wrong.is_empty(), "wrong": wrong }))?;
    } else if wrong.is_empty() {
        ui::result(&format!("✓ repository {} is whole: everything in it was read\n", repository.name));
    }
    if wrong.is_empty() {
        return Ok(Exit::Done);
    }
    for line in wrong.iter().take(SHOWN) {
        ui::say(&format!("✗ {}", text::line(line, 200)));
    }
    let more = wrong.len().saturating_sub(SHOWN);
    let more = if more > 0 { format!(", of which the first {SHOWN} are shown") } else { String::new() };
    let refused =
        Refused::new(format!("repository `{}` is damaged: {} things are wrong{more}", repository.name, wrong.len()));
    Err(refused.hint("what is missing is written again by the next archive; `restic repair` may save the rest").into())
}
