//! What a unit is, for whoever checks a site: whether it is there, which files it runs, and as whom.
use super::{
    super::super::{Manager, Systemd},
    bus::{Bus, SERVICE},
    unit::Unit,
};
use crate::resource::{Failure, process::User, service::Facts};
use std::{path::PathBuf, time::Duration};

/// For all that has to be asked.
const PATIENCE: Duration = Duration::from_secs(10);

/// One of `ExecStartEx` and the like: program, arguments, flags, and when it last ran.
type Line = (String, Vec<String>, Vec<String>, u64, u64, u64, u64, u32, i32, i32);

/// Looks, and changes nothing. Waits for the answers, wherever it is called.
pub fn facts(section: &Systemd) -> Result<Facts, Failure> {
    let section = section.clone();
    let ask = move || -> Result<Facts, Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|e| Failure::failed(format!("nothing can be asked: {e}")))?;
        let late = |_| Failure::unavailable("its manager does not answer");
        runtime.block_on(async { tokio::time::timeout(PATIENCE, ask(&section)).await }).map_err(late)?
    };
    // In a thread of its own: this one may be in the middle of something that waits.
    std::thread::spawn(ask).join().map_err(|_| Failure::failed("the question broke off"))?
}

async fn ask(section: &Systemd) -> Result<Facts, Failure> {
    let bus = Bus::open(section).await?;
    let unit = Unit::existing(&bus, &section.unit).await?;
    let text = async |name| bus.property::<String>(&unit.path, SERVICE, name).await.unwrap_or_default();
    let mut words: Vec<String> = Vec::new();
    let mut privileged = false;
    const LINES: &[&str] = &[
        "ExecConditionEx",
        "ExecStartPreEx",
        "ExecStartEx",
        "ExecStartPostEx",
        "ExecReloadEx",
        "ExecStopEx",
        "ExecStopPostEx",
    ];
    for name in LINES {
        let lines: Vec<Line> = bus.property(&unit.path, SERVICE, name).await?;
        for (program, arguments, flags, ..) in lines {
            privileged |= flags.iter().any(|flag| flag == "privileged" || flag == "no-setuid");
            words.push(program);
            words.extend(arguments);
        }
    }
    words.extend(bus.property::<Vec<String>>(&unit.path, SERVICE, "Environment").await?);
    let files: Vec<(String, bool)> = bus.property(&unit.path, SERVICE, "EnvironmentFiles").await?;
    let own = unit.fragment.iter().cloned().chain(unit.drop_ins.iter().map(PathBuf::from));
    let files: Vec<PathBuf> = own.chain(files.into_iter().map(|(file, _)| PathBuf::from(file))).collect();
    let dir = text("WorkingDirectory").await;
    let dir = dir.trim_start_matches(['!', '-', '~']);
    let dynamic: bool = bus.property(&unit.path, SERVICE, "DynamicUser").await?;
    let owner = User::name_of(bus.owner().await?);
    let user = match (section.manager, text("User").await) {
        // Whatever else it says, a line with `+` is run as the manager.
        _ if privileged => owner.clone(),
        (Manager::User, _) => owner.clone(),
        (_, user) if !user.is_empty() => user,
        (_, _) if dynamic => "of its own (`DynamicUser`)".to_owned(),
        _ => owner.clone(),
    };
    let trouble = match unit.load.as_str() {
        "loaded" | "masked" => None,
        load => Some(format!("its unit file cannot be used ({load}): {}", unit.load_error)),
    };
    let dir = PathBuf::from(if dir.is_empty() { "/" } else { dir });
    let root = Some(text("RootDirectory").await).filter(|root| !root.is_empty()).map(PathBuf::from);
    Ok(Facts { words, dir, files, root, mounts: None, user, owner, trouble })
}
