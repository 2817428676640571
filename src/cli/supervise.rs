//! What Backout starts of itself; nothing for people to call. See `resource::process`.
use super::{Exit, Global};
use crate::{
    resource::{process, service, tool},
    session,
};
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
    /// Run a command line for a service
    Command {
        #[arg(long)]
        dir: Option<PathBuf>,
    },
    /// Run a tool, and end it when nobody waits any more
    Tool,
    /// Compile a script, in bounds
    Compile {
        /// Seconds of processor time
        #[arg(long)]
        cpu: u64,
    },
    /// Become the program of either
    Program,
}

impl Args {
    pub fn execute(self, _: &Global) -> anyhow::Result<Exit> {
        match self.role {
            Role::Service { dir } => service::drivers::process::supervisor::run(&dir)?,
            Role::Command { dir } => service::drivers::command::commander::run(dir.as_deref())?,
            Role::Tool => tool::drivers::guard::run()?,
            Role::Compile { cpu } => session::compile(cpu)?,
            Role::Program => process::become_program(),
        }
        Ok(Exit::Done)
    }
}
