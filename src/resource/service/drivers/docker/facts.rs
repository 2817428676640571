//! What a container is, for whoever checks a site: whether it is there as the site says, which files of this machine it runs, and
//! as whom.
use super::Contained;
use crate::resource::{
    Failure,
    service::{Container, Facts},
};
use std::{
    path::{Path, PathBuf},
    time::Duration,
};

/// For all that has to be asked.
const PATIENCE: Duration = Duration::from_secs(10);

/// Looks, and changes nothing. Waits for the answers, wherever it is called.
pub fn facts(section: &Container) -> Result<Facts, Failure> {
    let container = Contained::new(&section.container, section, Path::new("."));
    let ask = move || -> Result<Facts, Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|e| Failure::failed(format!("nothing can be asked: {e}")))?;
        let late = |_| Failure::unavailable("the Docker daemon does not answer");
        runtime.block_on(async { tokio::time::timeout(PATIENCE, ask(&container)).await }).map_err(late)?
    };
    // In a thread of its own: this one may be in the middle of something that waits.
    std::thread::spawn(ask).join().map_err(|_| Failure::failed("the question broke off"))?
}

async fn ask(container: &Contained) -> Result<Facts, Failure> {
    let told = container.could_switch().await?.told;
    let config = told.config.unwrap_or_default();
    let words = told.path.into_iter().chain(told.args.unwrap_or_default()).chain(config.env.unwrap_or_default());
    let bound = told.mounts.unwrap_or_default().into_iter().filter(|mount| mount.typ.as_deref() == Some("bind"));
    let mounts = bound.filter_map(|mount| Some((mount.destination?.into(), mount.source?.into())));
    let user = config.user.unwrap_or_default();
    let user = user.split(':').next().filter(|user| !user.is_empty()).unwrap_or("root");
    Ok(Facts {
        words: words.collect(),
        dir: PathBuf::from(config.working_dir.filter(|dir| !dir.is_empty()).unwrap_or_else(|| "/".to_owned())),
        files: Vec::new(),
        root: None,
        mounts: Some(mounts.collect()),
        user: user.to_owned(),
        owner: "root".to_owned(),
        trouble: None,
    })
}
