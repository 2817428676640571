use super::{Exit, Global, Refused, moment, saved::File, ui};
use crate::{
    diagnostic::{Mistakes, reader, shown},
    dry::approval::Approval,
    key::{self, Key},
    report::{self, text},
    site,
};
use anyhow::Context;
use serde::Serialize;
use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};
use tokio_util::sync::CancellationToken;

/// Sign a saved plan, after it was shown
///
/// Shows what would be done and asks; then adds a signature over all of it, with name, role and time, to the file. Several people can
/// approve one plan. Whose approval counts says the site on which the upgrade runs.
///
/// The key is made when it is first needed, and its public half beside it, as `FILE.pub`. Keep it where nobody else can read it.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The plan that `backout plan --save` has made
    #[arg(value_name = "PLAN")]
    plan: PathBuf,
    /// Your name, as the site has it in `[approver.NAME]`
    #[arg(long = "as", value_name = "NAME", value_parser = name)]
    by: String,
    /// In which role you approve it
    #[arg(long, value_name = "ROLE", value_parser = name)]
    role: String,
    /// Your key
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
}

fn name(text: &str) -> Result<String, String> {
    reader::name(text).map(|()| text.to_owned()).map_err(str::to_owned)
}

#[derive(Serialize)]
struct View<'a> {
    /// `sha256:…` of what was approved
    plan: &'a str,
    by: &'a str,
    role: &'a str,
    /// as it belongs into a file that the site names
    key: &'a str,
    /// all approvals that the plan has now
    approvals: &'a [Approval],
}

impl Args {
    pub fn execute(self, global: &Global) -> anyhow::Result<Exit> {
        let mut file = File::read(&self.plan)?;
        // Nobody should add a name to those under something else.
        file.signed().map_err(Mistakes)?;
        if let Some(there) = file.saved.approvals.iter().find(|a| a.by == self.by && a.role == self.role) {
            let message =
                format!("{} has approved it as {} already, {}", there.by, there.role, moment::local(there.at));
            return Err(Refused::new(message).hint("nothing more is needed").into());
        }
        ui::say(&shown_to_approve(&file));
        let question = format!("Approve it as {} ({})?", self.by, self.role);
        if !(self.yes || ui::interactive() && ui::confirm(&question, &CancellationToken::new())) {
            let hint = "without a terminal: backout approve --yes";
            return Err(Refused::new("it was not approved").hint(hint).into());
        }
        let (key, public) = self.key()?;
        let digest = file.saved.digest()?;
        file.saved.approvals.push(Approval::sign(&digest, &self.by, &self.role, moment::now(), &key));
        let whole = self.plan.canonicalize().with_context(|| format!("find the plan {}", file.name))?;
        let text = file.saved.text()?;
        site::replace(&whole, &file.text, &text).with_context(|| format!("the plan {} was not changed", file.name))?;
        let line = key::public_line(&key.public());
        if global.json {
            let (by, role, key) = (self.by.as_str(), self.role.as_str(), line.trim_end());
            ui::json(&View { plan: &digest, by, role, key, approvals: &file.saved.approvals })?;
        } else {
            let (by, role, public) = (&self.by, &self.role, shown(&public.display().to_string()));
            ui::result(&format!("{by} has approved {} as {role}; the public key is in {public}:\n{line}", file.name));
        }
        Ok(Exit::Done)
    }

    /// The key, and the file with its public half.
    fn key(&self) -> anyhow::Result<(Key, PathBuf)> {
        let name = shown(&self.key.display().to_string());
        let public = self.key.with_extension("pub");
        if public == self.key {
            let message = format!("{name} is the name of a public key");
            return Err(Refused::new(message).hint("name the file that only you can read").into());
        }
        let key = Key::own(&self.key).map_err(|why| {
            Refused::new(format!("the key {name} {why}")).hint("name your own key; one that is not there is made")
        })?;
        if public.symlink_metadata().is_err() {
            publish(&public, &key).with_context(|| format!("write {}", shown(&public.display().to_string())))?;
        }
        Ok((key, public))
    }
}

/// It is no secret.
fn publish(file: &Path, key: &Key) -> std::io::Result<()> {
    key::write(file, key::public_line(&key.public()).as_bytes(), false)?;
    fs::set_permissions(file, Permissions::from_mode(0o644))
}

/// The plan in short, what it is bound to, and who has approved it so far.
fn shown_to_approve(file: &File) -> String {
    let (saved, bound) = (&file.saved, &file.saved.bound);
    let mut out = report::plan::text(&saved.plan);
    out += &format!("\npackage   {}\n", shown(&bound.digest));
    for (name, value) in &bound.settings {
        out += &format!("setting   {} = {}\n", shown(name), shown(value));
    }
    for step in &saved.plan.steps {
        for operation in &step.operations {
            let Some(arguments) = &operation.arguments else { continue };
            // Of some there is nothing to say but on what they are.
            if !operation.varies && arguments.as_object().is_some_and(|said| said.len() < 2) {
                continue;
            }
            let kind = if operation.varies { "varies" } else { "says" };
            let call = format!("{}/{}: {} {}", step.phase, step.name, operation.operation, operation.label);
            out += &format!("{kind:<8}  {}  {}\n", text::line(&call, 200), text::line(&arguments.to_string(), 400));
        }
    }
    for approval in &saved.approvals {
        out += &format!("approved  {} ({}), {}\n", approval.by, approval.role, moment::local(approval.at));
    }
    out
}
