//! What `plan` and `explore` have in common: from a package, and a site if there is one, to a stage that touches nothing.
use super::{Global, Refused, begin, queries};
use crate::{
    diagnostic::Mistakes,
    dry::{Given, Stage},
    journal::Header,
    package::Package,
    resource::run::Facts,
    session::Limits,
    site::Site,
};
use anyhow::Context;
use std::{
    collections::BTreeMap,
    future::Future,
    path::{Path, PathBuf},
};

/// Of one step, in a simulated world.
const MOST_CALLS: u32 = 10_000;

#[derive(Clone, Debug, clap::Args)]
pub struct Dry {
    /// The package: a folder with a package.toml
    pub package: PathBuf,
    /// Look at no site: the world is invented from what the package needs
    #[arg(long)]
    pub offline: bool,
    /// The version that is taken to be installed, when it is not the site that says it
    #[arg(long, value_name = "VERSION")]
    pub from: Option<String>,
    /// Where compiled scripts are kept; without it the site's state folder or, offline, the user's cache
    #[arg(long, value_name = "FOLDER", env = "BACKOUT_CACHE")]
    pub cache: Option<PathBuf>,
}

impl Dry {
    pub fn stage(&self, global: &Global) -> anyhow::Result<Stage> {
        let package = Package::open(&self.package)?;
        let site = match self.offline {
            true => None,
            false => Some(Site::load(&global.site)?),
        };
        let settings = match &site {
            Some(site) => site.settings(&package)?,
            None => defaults(&package)?,
        };
        let from_version = match (&self.from, &site) {
            (Some(from), _) => from.clone(),
            (None, Some(site)) => {
                site.upgradable(&package)?;
                site.installed_version()?.unwrap_or_default()
            }
            (None, None) => String::new(),
        };
        let facts = Facts {
            package: package.manifest.name.clone(),
            version: package.manifest.version.to_string(),
            from_version,
            to_version: package.manifest.version.to_string(),
            settings,
            payloads: package.payloads.clone(),
            schemas: BTreeMap::new(),
        };
        let real = site.as_ref().map(|site| site.lend(&package)).transpose()?;
        if let (Some(site), Some(real)) = (&site, &real) {
            // What nobody can say now is said by the plan itself.
            Mistakes(wait(queries::lent(site, real))?.mistakes).none_or()?;
        }
        let sections = site.as_ref().zip(real.as_ref()).map(|(site, real)| site.sections_of(&package, real));
        let header = Header {
            sections: sections.unwrap_or_default(),
            command: "plan".to_owned(),
            package: facts.package.clone(),
            version: facts.version.clone(),
            digest: package.digest.clone(),
            from_version: facts.from_version.clone(),
            to_version: facts.to_version.clone(),
            ..Header::default()
        };
        let journal = site.as_ref().map(|site| site.state.join("journal.db")).filter(|path| path.exists());
        let cache = self.cache(site.as_ref())?;
        let compile = site.as_ref().and_then(|site| site.limits.compile);
        let mut limits = site.as_ref().map_or_else(Limits::default, |site| begin::limits(&site.limits));
        // Nothing takes any time, so a script that goes on for ever is found by its calls.
        limits.quota.calls = limits.quota.calls.min(MOST_CALLS);
        Ok(Stage {
            script: begin::script(&cache, &package, compile)?,
            facts,
            header,
            limits,
            real: real.map(Into::into),
            measured: journal,
            given: Given::default(),
            later: Vec::new(),
            package,
        })
    }

    fn cache(&self, site: Option<&Site>) -> anyhow::Result<PathBuf> {
        if let Some(cache) = &self.cache {
            return Ok(cache.clone());
        }
        // A dry run makes no state folder.
        if let Some(site) = site.filter(|site| site.state.is_dir()) {
            return Ok(site.state.join("cache"));
        }
        let home = std::env::home_dir().filter(|home| home.is_absolute());
        let home = home.ok_or_else(|| {
            Refused::new("there is no folder for compiled scripts").hint("name one with `--cache`, or set HOME")
        })?;
        Ok(home.join(".cache/backout"))
    }
}

/// The values of settings where no site says others.
fn defaults(package: &Package) -> anyhow::Result<BTreeMap<String, String>> {
    let settings = &package.manifest.settings;
    let missing: Vec<&str> =
        settings.iter().filter(|(_, s)| s.default.is_none()).map(|(name, _)| name.as_str()).collect();
    if !missing.is_empty() {
        let message = format!("without a site nobody says the settings {}, which have no default", missing.join(", "));
        return Err(Refused::new(message).hint("give them a default in the manifest, or look at a site").into());
    }
    Ok(settings.iter().filter_map(|(name, s)| Some((name.clone(), s.default.as_ref()?.to_string()))).collect())
}

/// Where a package says what it is, as the command line names it.
pub fn manifest(package: &Path) -> String {
    package.join("package.toml").display().to_string()
}

/// Runs a future by itself: whatever is simulated goes on one after the other.
pub fn wait<T>(future: impl Future<Output = T>) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("start the runtime")?;
    Ok(runtime.block_on(future))
}
