use super::{Exit, Global, Refused, ui};
use crate::{
    diagnostic::shown,
    resource::{
        CallCtx,
        channel::{By, Message, drivers, key},
    },
    site::Site,
};
use anyhow::Context;
use std::{
    hash::{BuildHasher, Hasher, RandomState},
    time::Duration,
};

/// Send a trial message over a channel of the site
///
/// To see whether it arrives, before somebody relies on it.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The channel, as the site names it
    channel: String,
    /// What it says
    #[arg(long, default_value = "This is a trial: nothing has happened.")]
    text: String,
}

impl Args {
    pub fn execute(self, global: &Global) -> anyhow::Result<Exit> {
        let site = Site::load(&global.site)?;
        let name = &self.channel;
        let Some(section) = site.channels.get(name) else {
            let known: Vec<&str> = site.names("channel").collect();
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            let refused = Refused::new(format!("the site has no channel `{}`", shown(name)));
            return Err(refused.hint(format!("it has: {known}")).into());
        };
        let access = drivers::open(name, section).map_err(|failure| Refused::new(failure.message))?;
        // Each trial is a message of its own.
        let key = key(&["trial", name, &RandomState::new().build_hasher().finish().to_string()]);
        let message = Message::new(key.clone(), By::Backout, "trial", "Backout: a trial message", &self.text);
        let call = CallCtx::aside(format!("trial/{name}/{key}"), section.within + Duration::from_secs(2));
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("start the runtime")?;
        let sent = runtime.block_on(access.mutator.send(&message, &call));
        sent.map_err(|failure| anyhow::anyhow!("channel {name}: {failure}"))?;
        if global.json {
            ui::json(&serde_json::json!({ "channel": name, "driver": section.driver.word(), "told": true }))?;
        } else {
            ui::result(&format!("✓ channel {name} ({}) has taken it\n", section.driver.word()));
        }
        Ok(Exit::Done)
    }
}
