//! The product of the demo: a small shop over HTTP and SQLite. It knows nothing of Backout, and shares no code with it;
//! it lives in this program only so that the demo needs nothing else installed. What a release is (SQL, states, page) are
//! files in its folder; this is the runtime that all releases share.
mod config;
mod export;
mod log;
mod meter;
mod migrate;
mod release;
mod serve;
mod store;

pub use config::Config;
pub use release::Release;
pub use serve::VERSION;

use std::path::PathBuf;

#[derive(Debug, clap::Args)]
#[group(skip)]
pub struct Args {
    /// Folder of the release
    #[arg(long)]
    release: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Answer requests until SIGTERM
    Serve {
        #[arg(long)]
        config: PathBuf,
    },
    /// Bring the database to the schema of the release
    Migrate {
        #[arg(long)]
        config: PathBuf,
    },
    /// Write all orders into a file, slowly, so that nobody is disturbed
    Export {
        #[arg(long)]
        config: PathBuf,
        #[arg(long)]
        to: PathBuf,
    },
}

pub fn execute(args: Args) -> anyhow::Result<()> {
    let release = Release::open(&args.release)?;
    match args.command {
        Command::Serve { config } => serve::serve(release, Config::open(&config)?),
        Command::Migrate { config } => {
            let text = migrate::migrate(&release, &Config::open(&config)?.database)?;
            log::answer(&text);
            Ok(())
        }
        Command::Export { config, to } => export::export(&Config::open(&config)?.database, &to),
    }
}

/// Brings a database to the schema of a release; the file is made when there is none.
pub fn migrate(release: &Release, database: &std::path::Path) -> anyhow::Result<String> {
    migrate::migrate(release, database)
}
