use super::{Exit, Global, Refused, columns::count, state, ui};
use crate::{
    journal::{self, Error, Reader, RunId, export},
    key::hex,
    package::Package,
    site::Site,
};
use serde::Serialize;
use std::path::PathBuf;

/// Write one run into a file, for another machine
///
/// The file holds the entries of the run and of the run whose restore point it uses, of other runs' entries in between their
/// digests alone, a signed head, and the package, if it was kept. `backout audit FILE` verifies it, without the site.
///
/// What scripts have read stands in it, as in the journal.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The number of the run
    run: RunId,
    /// The file to make
    file: PathBuf,
}

#[derive(Serialize)]
struct View {
    run: RunId,
    file: String,
    entries: u64,
    /// entries of other runs, of which only the digests are in it
    digests: u64,
    package: bool,
    key: String,
}

impl Args {
    pub fn execute(self, global: &Global) -> anyhow::Result<Exit> {
        let state = Site::load(&global.site)?.state;
        let path = state.join("journal.db");
        let audit = journal::audit(&path, &[])?;
        if let Some(finding) = audit.findings.first() {
            let message = format!("the journal is not as it was written: {finding}");
            return Err(Refused::new(message).hint("`backout audit` says more").into());
        }
        let no_run = |error| match error {
            Error::NoRun(_) => Refused::new(error.to_string()).hint("`backout runs` lists them").into(),
            error => anyhow::Error::new(error),
        };
        let reader = Reader::find(&path)?.ok_or_else(|| no_run(Error::NoRun(self.run)))?;
        let digest = reader.run(self.run).map_err(no_run)?.header.digest;
        let kept = state::kept_package(&state, &digest);
        // Of a run that left no restore point the package was not kept.
        let package = match Package::open(&kept) {
            Ok(package) if !digest.is_empty() && package.digest == digest => Some(package),
            _ => None,
        };
        let files: Vec<PathBuf> = package.iter().flat_map(state::files_of).collect();
        let exported = export::export(&path, self.run, &kept, &files, &self.file)?;
        let (has_package, file) = (package.is_some(), self.file.display().to_string());
        if global.json {
            let (entries, digests, key) = (exported.entries, exported.foreign, hex(&exported.head.key));
            ui::json(&View { run: self.run, file, entries, digests, package: has_package, key })?;
            return Ok(Exit::Done);
        }
        let number = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
        let entries = count(number(exported.entries), "entry").replace("entrys", "entries");
        let others = count(number(exported.foreign), "digest");
        let with = if has_package { "its package" } else { "no package, which was not kept" };
        ui::result(&format!(
            "✓ run {} is in {file}: {entries}, {others} of other runs' entries, {with}\n  public key {}",
            self.run,
            hex(&exported.head.key)
        ));
        Ok(Exit::Done)
    }
}
