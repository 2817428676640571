//! What Backout starts of itself; nothing for people to call. See `resource::process`.
use super::{Exit, Global};
use crate::resource::{process, service, tool};
use std::path::PathBuf;

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    role: Role,
}

#[derive(Debug, clap::Subcommand)]
enum Role {
    /// Keep a service, and its log
    Service {
        #[arg(long)]
        dir: PathBuf,
    },
    /// Run a tool, and end it when nobody waits any more
    Tool,
    /// Become the program of either
    Program,
}

impl Args {
    pub fn execute(self, _: &Global) -> anyhow::Result<Exit> {
        match self.role {
            Role::Service { dir } => service::drivers::process::supervisor::run(&dir)?,
            Role::Tool => tool::drivers::guard::run()?,
            Role::Program => process::become_program(),
        }
        Ok(Exit::Done)
    }
}
