use super::log::Level;
use anyhow::Context;
use serde::Deserialize;
use std::path::{Path, PathBuf};

/// `shop.toml`. What a newer release has put there is no mistake.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Config {
    pub port: u16,
    /// Relative to the file; absolute once it was read.
    pub database: PathBuf,
    #[serde(default = "page_size")]
    pub page_size: u32,
    #[serde(default)]
    pub log_level: Level,
    #[serde(default = "theme")]
    pub theme: String,
    /// How long the payment partner takes for an order. There is none; the shop is as slow as if there were.
    #[serde(default)]
    pub partner_millis: u64,
}

fn page_size() -> u32 {
    20
}
fn theme() -> String {
    "plain".to_owned()
}

impl Config {
    pub fn open(path: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        let mut config: Self = toml::from_str(&text).with_context(|| format!("cannot use {}", path.display()))?;
        let folder = std::path::absolute(path)?;
        config.database = folder.parent().unwrap_or(Path::new("/")).join(&config.database);
        Ok(config)
    }
}
