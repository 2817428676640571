use super::{Exit, Global, Refused, ui};
use crate::site::first;
use serde::Serialize;
use std::path::PathBuf;

/// Write a first site file from what is found in a folder
///
/// Looks for SQLite databases, program trees with a `current` link and listening programs below a folder, and writes
/// `backout.toml` there with what it found, to be read and completed. What else runs on this host (PostgreSQL, MariaDB, units of systemd
/// and containers that belong to the folder, Prometheus) stands there as comments; nobody is connected to. Never overwrites.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The folder of the product
    #[arg(default_value = ".")]
    dir: PathBuf,
}

#[derive(Serialize)]
struct View {
    site: String,
    databases: Vec<String>,
    trees: Vec<String>,
    probes: Vec<String>,
}

impl Args {
    pub fn execute(self, global: &Global) -> anyhow::Result<Exit> {
        let found = first::look(&self.dir).map_err(|error| {
            Refused::new(format!("{}: {}", self.dir.display(), crate::diagnostic::io_reason(&error)))
        })?;
        let here = self.dir.as_os_str() == ".";
        let path = if here { PathBuf::from("backout.toml") } else { self.dir.join("backout.toml") };
        match first::write(&path, &found.text()) {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                let refused = Refused::new(format!("there is a site file already: {}", path.display()));
                return Err(refused.hint("`backout check` looks whether it is right").into());
            }
            Err(error) => return Err(Refused::new(format!("{} cannot be written: {error}", path.display())).into()),
        }
        let names = |list: &[first::Named]| list.iter().map(|named| named.name.clone()).collect();
        if global.json {
            ui::json(&View {
                site: path.display().to_string(),
                databases: names(&found.databases),
                trees: names(&found.trees),
                probes: names(&found.probes),
            })?;
        } else {
            ui::result(&format!("{} is written: {}", path.display(), found.summary()));
            ui::say("Read it, complete it, then: backout check");
        }
        Ok(Exit::Done)
    }
}
