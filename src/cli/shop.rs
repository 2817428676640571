//! The product of the demo, as a hidden subcommand.
use super::{Exit, Global, demo::shop};

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    shop: shop::Args,
}

impl Args {
    pub fn execute(self, _: &Global) -> anyhow::Result<Exit> {
        shop::execute(self.shop)?;
        Ok(Exit::Done)
    }
}
