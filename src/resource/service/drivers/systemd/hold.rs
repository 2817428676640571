//! What keeps a unit down while it is stopped, whoever would start it: a timer, a connection, a dependency, a person. It is
//! below `/run`, so it goes with the machine, and stays when Backout is killed.
use super::{
    bus::{Bus, unless_gone},
    unit::Unit,
};
use crate::resource::{Failure, FailureKind, process::blocking};
use serde::{Deserialize, Serialize};
use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// In `UNIT.d`, as the last of its kind.
const DROP_IN: &str = "zz-backout.conf";
const CONTENT: &str = "\
# Backout has stopped this unit, and nothing may start it until Backout does, which removes this file.
# To give it up by hand: remove this file, then `systemctl daemon-reload`.
[Unit]
AssertPathExists=/dev/null/stopped-by-backout
";

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Hold {
    /// A mask at run time.
    Mask,
    /// A mask at run time does nothing against a file in `/etc`, which comes first: a file that adds to it does.
    DropIn(PathBuf),
}

/// What would keep this unit down. Tries what it needs, and leaves nothing: a right that is missing is found while the product
/// still serves. `ours`: a mask that is there is Backout's own. `None`: it is masked already, by somebody else.
pub async fn choose(bus: &Bus, unit: &Unit, ours: bool) -> Result<Option<Hold>, Failure> {
    if unit.load == "masked" {
        return Ok(ours.then_some(Hold::Mask));
    }
    if ours {
        unmask(bus, &unit.name).await?;
    }
    let changes = mask(bus, &unit.name).await?;
    let Some((_, link, _)) = changes.into_iter().find(|(kind, ..)| kind == "symlink") else {
        // Somebody has put it there, and has not told the manager yet.
        return Ok(None);
    };
    unmask(bus, &unit.name).await?;
    let link = PathBuf::from(link);
    let folder = link.parent().unwrap_or(Path::new("/")).to_owned();
    let order: Vec<String> = bus.property("/org/freedesktop/systemd1", super::bus::MANAGER, "UnitPath").await?;
    let place = |folder: &Path| order.iter().position(|other| Path::new(other) == folder);
    let file = unit.fragment.as_deref().filter(|file| file.file_name() == link.file_name());
    let before = match (file.and_then(Path::parent).and_then(place), place(&folder)) {
        (Some(file), Some(mask)) => file < mask,
        _ => false,
    };
    Ok(Some(if before { Hold::DropIn(folder.join(format!("{}.d", unit.name)).join(DROP_IN)) } else { Hold::Mask }))
}

impl Hold {
    /// Whether it may be there while the unit runs: under a mask, a unit forgets how it is stopped.
    pub fn is_early(&self) -> bool {
        matches!(self, Self::DropIn(_))
    }

    /// Nothing can start the unit when it returns.
    pub async fn put(&self, bus: &Bus, unit: &str) -> Result<(), Failure> {
        match self {
            Self::Mask => drop(mask(bus, unit).await?),
            Self::DropIn(file) => write(file.clone()).await?,
        }
        bus.reload().await?;
        let now = Unit::look(bus, unit).await?;
        let holds = match self {
            Self::Mask => now.load == "masked",
            Self::DropIn(file) => now.drop_ins.iter().any(|other| Path::new(other) == file),
        };
        if holds {
            return Ok(());
        }
        self.remove(bus, unit).await?;
        Err(Failure::failed("its manager does not heed what would keep it down")
            .hint("does it see the same /run as Backout? A unit file below /usr/lib/systemd can be masked in any case"))
    }

    /// Whether anything was there. The manager has to read its files again then.
    pub async fn remove(&self, bus: &Bus, unit: &str) -> Result<(), Failure> {
        match self {
            Self::Mask => unmask(bus, unit).await?,
            Self::DropIn(file) => remove(file.clone()).await?,
        }
        bus.reload().await
    }
}

type Changes = Vec<(String, String, String)>;

async fn mask(bus: &Bus, unit: &str) -> Result<Changes, Failure> {
    bus.ask("MaskUnitFiles", &([unit].as_slice(), true, false)).await
}

async fn unmask(bus: &Bus, unit: &str) -> Result<(), Failure> {
    let gone: Result<Changes, Failure> = bus.ask("UnmaskUnitFiles", &([unit].as_slice(), true)).await;
    unless_gone(gone.map(drop))
}

fn told(error: &io::Error) -> Failure {
    let kind = match error.kind() {
        io::ErrorKind::PermissionDenied => FailureKind::Denied,
        _ => FailureKind::Failed,
    };
    Failure::new(
        kind,
        format!("it cannot be kept down: its unit file comes before any mask, and no file can be added to it: {error}"),
    )
    .hint("run Backout as root, or keep the unit file below /usr/lib/systemd, where a mask comes before it")
}

async fn write(file: PathBuf) -> Result<(), Failure> {
    let write = move || {
        if let Some(folder) = file.parent() {
            fs::create_dir_all(folder)?;
        }
        fs::write(file, CONTENT)
    };
    blocking(write).await?.map_err(|error| told(&error))
}

async fn remove(file: PathBuf) -> Result<(), Failure> {
    let remove = move || {
        match fs::remove_file(&file) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        // Others may have their own files there.
        if let Some(folder) = file.parent() {
            let _ = fs::remove_dir(folder);
        }
        Ok(())
    };
    blocking(remove).await?.map_err(|error| told(&error))
}
