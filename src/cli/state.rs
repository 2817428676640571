//! What a site's state folder holds for those who come later: the packages of restore points, the reports of runs. All of it is
//! there after a power failure before anybody relies on it.
use super::Refused;
use crate::{crash, diagnostic::shown, journal::RunId, package::Package, report};
use anyhow::Context;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use std::{
    collections::BTreeSet,
    fs::{self, DirBuilder, File, Permissions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
};

/// The state folder holds the journal, and packages and copies that a rollback trusts: whoever can write there could have another
/// program run, or another past told.
pub fn make_private(state: &Path) -> anyhow::Result<()> {
    let shown = shown(&state.display().to_string());
    if state.symlink_metadata().is_ok() && !state.is_dir() {
        return Err(Refused::new(format!("the state folder {shown} is no folder"))
            .hint("move away what is there")
            .into());
    }
    let made = make_folder(state).and_then(|()| match state.join("journal.db").exists() {
        true => Ok(()),
        // Whoever made it may have been killed before its name was safe.
        false => sync_name(state),
    });
    made.with_context(|| format!("make the state folder {shown}"))?;
    let about = fs::metadata(state).with_context(|| format!("look at the state folder {shown}"))?;
    if about.uid() != rustix::process::geteuid().as_raw() {
        let message = format!("the state folder {shown} belongs to another user (number {})", about.uid());
        return Err(Refused::new(message).hint("run Backout as that user, or give the folder to this one").into());
    }
    if about.mode() & 0o022 != 0 {
        let message =
            format!("others than its owner may write into the state folder {shown} (mode {:o})", about.mode() & 0o7777);
        return Err(Refused::new(message)
            .hint(format!("look what they have done there, then: chmod 700 {shown}"))
            .into());
    }
    Ok(())
}

/// Makes a folder and those that it lies in.
fn make_folder(folder: &Path) -> io::Result<()> {
    let missing: Vec<&Path> = folder.ancestors().take_while(|folder| !folder.is_dir()).collect();
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    missing.into_iter().try_for_each(sync_name)
}

fn sync_name(folder: &Path) -> io::Result<()> {
    match folder.parent().map_or(Ok(()), sync) {
        // One may write into a folder and not read it; then the whole file system is written.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(rustix::fs::syncfs(File::open(folder)?)?),
        synced => synced,
    }
}

/// The names in a folder, or the content of a file.
fn sync(path: &Path) -> io::Result<()> {
    File::open(if path.as_os_str().is_empty() { Path::new(".") } else { path })?.sync_all()
}

pub fn kept_package(state: &Path, digest: &str) -> PathBuf {
    state.join("packages").join(digest.trim_start_matches("sha256:"))
}

/// What a folder in the midst of being filled or emptied is called.
const STAGING: &str = ".tmp";

/// The package that a run was made with.
pub fn open_kept(state: &Path, digest: &str, run: RunId) -> anyhow::Result<Package> {
    let kept = kept_package(state, digest);
    if !kept.exists() {
        let message =
            format!("the package of run {run} is not kept any more: nobody can go back to or on with that run");
        return Err(Refused::new(message).hint("name the package's folder").into());
    }
    let package = Package::open(&kept).with_context(|| format!("open the package that run {run} kept"))?;
    if package.digest == digest {
        return Ok(package);
    }
    let message = format!("the package that run {run} kept is not what it was");
    let hint = format!("somebody has changed {}: name the package's folder", kept.display());
    Err(Refused::new(message).hint(hint).into())
}

/// Keeps the package with the restore point, so that there is a way back even when the vendor's folder is gone.
pub fn keep_package(state: &Path, package: &Package) -> anyhow::Result<()> {
    let kept = kept_package(state, &package.digest);
    let is_whole = |folder: &Path| Package::open(folder).is_ok_and(|there| there.digest == package.digest);
    if is_whole(&kept) {
        return Ok(());
    }
    let keep = || -> io::Result<()> {
        let folder = state.join("packages");
        make_folder(&folder)?;
        let staging = tempfile::Builder::new().prefix(STAGING).tempdir_in(&folder)?;
        copy(package, staging.path())?;
        if !is_whole(staging.path()) {
            return Err(io::Error::other("somebody has changed it meanwhile"));
        }
        match renameat_with(CWD, staging.path(), CWD, &kept, RenameFlags::NOREPLACE) {
            // Damaged, or somebody else's: what is there goes with the staging folder.
            Err(rustix::io::Errno::EXIST) => renameat_with(CWD, staging.path(), CWD, &kept, RenameFlags::EXCHANGE)?,
            moved => moved?,
        }
        sync(&folder)?;
        sync(state)
    };
    keep().context("keep the package beside the journal")
}

/// Digests of kept packages that are none of these. What somebody who was killed has left beside them is cleared away.
pub fn kept_besides(state: &Path, needed: &BTreeSet<String>) -> anyhow::Result<Vec<String>> {
    let folder = state.join("packages");
    let mut besides = Vec::new();
    let entries = match fs::read_dir(&folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(besides),
        entries => entries.context("look at the packages beside the journal")?,
    };
    for entry in entries {
        let entry = entry.context("look at the packages beside the journal")?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with(STAGING) {
            fs::remove_dir_all(entry.path()).context("clear away a package that was not kept as a whole")?;
        } else if name.len() == 64 && name.bytes().all(|b| b.is_ascii_hexdigit()) {
            besides.push(format!("sha256:{name}"));
        }
    }
    besides.retain(|digest| !needed.contains(digest));
    besides.sort();
    Ok(besides)
}

/// At no moment does a part of it stand in its place.
pub fn remove_kept(state: &Path, digest: &str) -> anyhow::Result<()> {
    let folder = state.join("packages");
    let remove = || -> io::Result<()> {
        let staging = tempfile::Builder::new().prefix(STAGING).tempdir_in(&folder)?;
        crash::point("before a package is removed");
        fs::rename(kept_package(state, digest), staging.path().join("package"))?;
        sync(&folder)?;
        crash::point("after a package is removed");
        staging.close()
    };
    remove().with_context(|| format!("remove the package {digest}"))
}

/// The files that the digest covers, nothing else that lies in the folder.
pub fn files_of(package: &Package) -> BTreeSet<PathBuf> {
    let payload = package.manifest.payload.values().map(|path| path.value.clone());
    payload.chain([package.manifest.script.value.clone(), PathBuf::from("package.toml")]).collect()
}

fn copy(package: &Package, to: &Path) -> io::Result<()> {
    let mut folders = BTreeSet::from([to.to_owned()]);
    for path in &files_of(package) {
        let copied = to.join(path);
        let folder = copied.parent().unwrap_or(to);
        fs::create_dir_all(folder)?;
        folders.extend(folder.ancestors().take_while(|folder| *folder != to).map(Path::to_owned));
        fs::copy(package.dir.join(path), &copied)?;
        sync(&copied)?;
    }
    folders.iter().try_for_each(|folder| sync(folder))
}

pub fn keep_report(report: &report::Report, folder: &Path) -> anyhow::Result<()> {
    make_folder(folder)?;
    for (name, text) in [("report.md", report::markdown(report)), ("report.json", report::json(report)?)] {
        write_whole(&folder.join(name), &text).with_context(|| format!("write {name}"))?;
    }
    Ok(())
}

/// At no moment does a part of it stand in its place. Nobody but its owner reads it.
pub fn write_whole(path: &Path, text: &str) -> io::Result<()> {
    write(path, text, 0o600)
}

/// As `write_whole`, for whoever the user lets read new files.
pub fn write_for_all(path: &Path, text: &str) -> io::Result<()> {
    write(path, text, 0o666)
}

fn write(path: &Path, text: &str, mode: u32) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file = tempfile::Builder::new().permissions(Permissions::from_mode(mode)).tempfile_in(folder)?;
    file.write_all(text.as_bytes())?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|e| e.error)?;
    sync_name(path)
}
