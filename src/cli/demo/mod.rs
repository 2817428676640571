//! `backout demo`: a real small product, a bad upgrade, and the way back, in a folder of its own.
pub mod client;
pub mod folder;
pub mod proof;
pub mod releases;
mod service;
pub mod shop;
mod stage;
pub mod stock;
mod story;
mod summary;

use super::{Exit, Global, ui};
use clap::ValueEnum;
use serde::Serialize;
use stage::Stage;
use std::{path::PathBuf, time::Instant};

/// Show on a real small product what Backout is for
///
/// Shows what Backout is for, on a real small product that it brings along: an upgrade that turns out bad, and the way back.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The folder to make; one of an earlier demo is replaced
    #[arg(long, value_name = "DIR", default_value = "backout-demo")]
    dir: PathBuf,
    /// What happens
    #[arg(long, value_enum, default_value_t)]
    scenario: Scenario,
    /// Let the product and its client go on at the end until Ctrl-C, for commands of your own from another terminal
    #[arg(long)]
    keep_running: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scenario {
    /// 2.0.0 errs: 1.0 comes back by itself, with all its data
    #[default]
    BadUpgrade,
    /// 2.0.1 is good: it stays, and the copies are freed
    GoodUpgrade,
    /// The site lacks rights that the package needs: nothing is begun
    Denied,
    /// The way back is blocked: what people see then, and what they do
    BrokenRollback,
}

impl Args {
    pub fn execute(self, global: &Global) -> anyhow::Result<Exit> {
        let began = Instant::now();
        let mut stage = Stage::set(&self.dir, self.scenario)?;
        introduce(&stage);
        let summary = story::play(&mut stage, self.scenario)?;
        if !self.keep_running {
            stage.strike()?;
        }
        let summary = summary.finish(&stage, began);
        if global.json {
            ui::json(&summary)?;
        } else {
            ui::result(&summary.text(&std::env::current_dir()?));
        }
        if self.keep_running {
            ui::say("\nThe shop and its client go on until Ctrl-C.");
            stage.linger();
            stage.strike()?;
        }
        Ok(if summary.wrong.is_empty() { Exit::Done } else { Exit::Error })
    }
}

fn introduce(stage: &Stage) {
    let folder = &stage.folder;
    for (what, text) in [
        ("folder", folder.root.display().to_string()),
        ("shop", format!("1.0.0 on http://127.0.0.1:{}, a service that Backout supervises", folder.port)),
        ("client", "asks all the time, from other threads of this program".to_owned()),
        ("state", stage.before.counts()),
    ] {
        ui::say(&format!("  {what:<11} {text}"));
    }
}
