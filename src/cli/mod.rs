//! A file per subcommand: its arguments and what it does. `ui` alone writes to the terminal.
mod allow;
mod approve;
mod aside;
mod assess;
mod audit;
mod begin;
mod check;
mod columns;
mod commit;
mod completions;
mod cut_off;
pub mod demo;
mod dry;
mod ending;
mod exit;
mod explore;
mod export;
mod freeing;
mod init;
mod inspect;
mod lead;
mod moment;
mod notify;
mod past;
mod people;
mod pipeline;
mod plan;
mod prepare;
pub mod progress;
mod queries;
mod rehearse;
mod rehearsed;
mod replay;
mod repository;
mod restore_points;
mod resume;
mod rollback;
mod runs;
mod salvage;
mod saved;
mod schema;
mod shop;
mod show;
mod state;
mod supervise;
mod test;
pub mod ui;
mod unfence;
mod upgrade;
mod verify;

pub use exit::{Exit, Refused};

use crate::diagnostic::Mistakes;
use clap::{Parser, Subcommand};
use std::path::PathBuf;

/// Runs rollback scripts as sandboxed WebAssembly components: backs up, upgrades, watches, and takes it back.
#[derive(Debug, Parser)]
#[command(name = "backout", version, propagate_version = true, max_term_width = 100)]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Clone, Debug, clap::Args)]
pub struct Global {
    /// The site file: what is on this host, and who may do what with it
    #[arg(long, global = true, value_name = "FILE", default_value = "backout.toml", env = "BACKOUT_SITE")]
    pub site: PathBuf,
    /// Machine-readable result on standard output
    #[arg(long, global = true)]
    pub json: bool,
    /// More about what goes on, on standard error; twice for everything
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
}

macro_rules! commands { ($($(#[$meta:meta])* $variant:ident($module:ident),)*) => {
    #[derive(Debug, Subcommand)]
    pub enum Command { $($(#[$meta])* $variant($module::Args),)* }
    impl Command {
        pub fn execute(self, global: &Global) -> anyhow::Result<Exit> {
            match self { $(Self::$variant(args) => args.execute(global),)* }
        }
    }
}; }
commands! {
    Init(init),
    Inspect(inspect),
    Check(check),
    Allow(allow),
    Assess(assess),
    Plan(plan),
    Approve(approve),
    Explore(explore),
    Test(test),
    Rehearse(rehearse),
    Prepare(prepare),
    Upgrade(upgrade),
    Rollback(rollback),
    Resume(resume),
    Verify(verify),
    Commit(commit),
    Unfence(unfence),
    Demo(demo),
    Runs(runs),
    Show(show),
    Replay(replay),
    RestorePoints(restore_points),
    Aside(aside),
    Repository(repository),
    Salvage(salvage),
    Audit(audit),
    Export(export),
    Notify(notify),
    Completions(completions),
    /// The product of the demo
    #[command(hide = true)]
    Shop(shop),
    #[command(hide = true)]
    Supervise(supervise),
}

impl Cli {
    /// Runs the command; every error has become a text on standard error and an exit code.
    pub fn execute(self) -> Exit {
        ui::log(self.global.verbose);
        match self.command.execute(&self.global) {
            Ok(exit) => exit,
            Err(error) => {
                ui::error(&error);
                if error.is::<Refused>() || error.is::<Mistakes>() { Exit::Refused } else { Exit::Error }
            }
        }
    }
}
