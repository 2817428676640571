use super::{
    Exit, Global,
    lead::{self, Common},
    ui,
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
            let run = lead.begin_without_script("unfence", None)?;
            let outcome = match run.unfence_all().await {
                Ok(lifted) => {
                    let text = match lifted.as_slice() {
                        [] => "no database was fenced".to_owned(),
                        names => format!("lifted the fence of {}", names.join(", ")),
                    };
                    ui::say(&text);
                    run.say(Level::Info, text).await?;
                    Outcome::Unfenced
                }
                Err(error) => Outcome::Stopped(format!("a fence could not be lifted: {error}")),
            };
            lead.end(&run, outcome).await
        })
    }
}
