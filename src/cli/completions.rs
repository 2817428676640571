use super::{Cli, Exit, Global, ui};
use clap::CommandFactory;

/// Print a completion script for a shell
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The shell that reads the script
    shell: clap_complete::Shell,
}

impl Args {
    pub fn execute(self, _: &Global) -> anyhow::Result<Exit> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "backout", &mut script);
        ui::result(&String::from_utf8_lossy(&script));
        Ok(Exit::Done)
    }
}
