use super::{
    Exit, Global, cut_off,
    lead::{self, Common},
};
use crate::{journal::Level, run::life_cycle::Outcome};

/// Let applications into every database again
///
/// Needs no package, and no run that went before.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    common: Common,
}

impl Args {
    pub fn execute(self, global: &Global) -> anyhow::Result<Exit> {
        lead::lead(global, self.common, async |lead| {
            let hold = lead.hold(lead.site.everything()?).await?;
            let run = lead.begin_without_script("unfence", hold, None)?;
            let lifted = run.unfence_all().await;
            let failure = lifted.failure();
            let text = match lifted.open.as_slice() {
                [] if failure.is_some() => None,
                [] => Some("no database was fenced".to_owned()),
                names => Some(format!("lifted the fence of {}", names.join(", "))),
            };
            if let Some(text) = text {
                run.say(Level::Info, text).await?;
            }
            if failure.is_none() {
                cut_off::close_unfencing(&lead)?;
            }
            let outcome = failure.map_or(Outcome::Unfenced, Outcome::Stopped);
            lead.end(&run, outcome).await
        })
    }
}
