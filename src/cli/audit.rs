use super::{Exit, Global, Refused, columns::count, moment, ui};
use crate::{
    journal::{
        Audit, Finding, Head,
        export::{self, Opened},
    },
    key::hex,
    package::Package,
    report::text,
    site::Site,
};
use serde::Serialize;
use std::path::{Path, PathBuf};

/// Verify the journal, or an exported run; changes nothing
///
/// Reads the whole journal and says where an entry was altered, removed, moved, put in or cut off, where one cannot be read or
/// stands out of order, and whether what was signed at the start and end of each run is still there.
///
/// Whoever has Backout's key could sign another past. So keep the line that this prints somewhere else, and compare later
/// with --head.
///
/// Exit code 0: nothing is wrong. 10: something is.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// An exported run, to be verified without any journal
    file: Option<PathBuf>,
    /// A head that was kept elsewhere: the line itself, or a file that holds it
    #[arg(long, value_name = "HEAD")]
    head: Vec<String>,
}

impl Args {
    pub fn execute(self, global: &Global) -> anyhow::Result<Exit> {
        let kept = self.head.iter().map(|head| kept(head)).collect::<Result<Vec<Head>, _>>()?;
        let (what, audit) = match &self.file {
            Some(file) => exported(file, &kept)?,
            None => {
                let journal = Site::load(&global.site)?.state.join("journal.db");
                let audit = crate::journal::audit(&journal, &kept)?;
                ("the journal".to_owned(), audit)
            }
        };
        if global.json {
            ui::json(&View::of(&audit))?;
        } else {
            ui::result(&told(&what, &audit));
        }
        Ok(if audit.is_clean() { Exit::Done } else { Exit::Findings })
    }
}

fn kept(head: &str) -> anyhow::Result<Head> {
    let read = match head.starts_with("backout-head ") {
        true => head.parse().map_err(|reason: &str| format!("the head {reason}")),
        false => match Head::at(Path::new(head)) {
            Ok(Some(head)) => Ok(head),
            Ok(None) => Err(format!("{head} is not there")),
            Err(error) => Err(error.to_string()),
        },
    };
    read.map_err(|reason| {
        Refused::new(reason).hint("give the line that `backout audit` printed, or a file with it").into()
    })
}

/// Its head is the one that was signed when it was exported.
fn exported(file: &Path, kept: &[Head]) -> anyhow::Result<(String, Audit)> {
    let opened = export::read(file)?;
    let package = package(&opened);
    let Opened { run, head, mut audit, .. } = opened;
    audit.findings.extend(package.err().map(|what| Finding { entry: None, run: None, place: None, what }));
    if kept.iter().any(|kept| kept.key != head.key) {
        let what = "it is signed with another key than the head that was kept".to_owned();
        audit.findings.push(Finding { entry: None, run: None, place: None, what });
    }
    for kept in kept.iter().filter(|kept| kept.entry == head.entry && kept.hash != head.hash) {
        let what = "it is not what was signed in the head that was kept".to_owned();
        audit.findings.push(Finding { entry: Some(kept.entry), run: None, place: None, what });
    }
    audit.head = Some(head);
    Ok((format!("the export of run {run}"), audit))
}

/// Whether the package in it is the one that the run names.
fn package(opened: &Opened) -> Result<(), String> {
    if !opened.audit.is_clean() {
        return Ok(());
    }
    let header = opened.reader().and_then(|reader| reader.run(opened.run)).map_err(|error| error.to_string())?.header;
    if !opened.files().join("package.toml").exists() {
        return Ok(());
    }
    match Package::open(&opened.files()) {
        Ok(package) if package.digest == header.digest => Ok(()),
        Ok(_) => Err("its package is another one than the run names".to_owned()),
        Err(_) => Err("its package cannot be read".to_owned()),
    }
}

fn told(what: &str, audit: &Audit) -> String {
    let mut lines: Vec<String> =
        audit.findings.iter().map(|finding| format!("✗ {}", text::line(&finding.to_string(), 400))).collect();
    if audit.more > 0 {
        lines.push(format!("✗ and {} more", audit.more));
    }
    let entries = count(usize::try_from(audit.entries).unwrap_or(usize::MAX), "entry").replace("entrys", "entries");
    let runs = count(usize::try_from(audit.runs).unwrap_or(usize::MAX), "run");
    match (audit.is_clean(), audit.entries) {
        (true, 0) => lines.push(format!("✓ {what} is empty")),
        (true, _) => {
            lines.push(format!("✓ {what} is as it was written: {entries} of {runs}, one chain from first to last"))
        }
        (false, _) => lines.push(format!("✗ {what} is not as it was written: {entries} of {runs} could be read")),
    }
    if let Some(head) = &audit.head {
        let behind = audit.last.map_or(0, |(last, _)| last.saturating_sub(head.entry));
        let rest = if behind > 0 { format!("; the {behind} behind it are not signed yet") } else { String::new() };
        lines.push(format!("  signed {} up to entry {}{rest}", moment::local(head.at), head.entry));
        lines.push(format!("  public key {}", hex(&head.key)));
        lines.push("  keep this line somewhere else, for --head:".to_owned());
        lines.push(head.to_string());
    }
    lines.join("\n")
}

#[derive(Serialize)]
struct View<'a> {
    clean: bool,
    entries: u64,
    runs: u64,
    /// number of the last entry
    last: Option<i64>,
    hash: Option<String>,
    head: Option<HeadView>,
    findings: &'a [Finding],
    /// findings that are not listed
    more: u64,
}

#[derive(Serialize)]
struct HeadView {
    line: String,
    entry: i64,
    hash: String,
    at: jiff::Timestamp,
    key: String,
}

impl<'a> View<'a> {
    fn of(audit: &'a Audit) -> Self {
        let head = audit.head.as_ref().map(|head| HeadView {
            line: head.to_string(),
            entry: head.entry,
            hash: hex(&head.hash),
            at: moment::of(head.at),
            key: hex(&head.key),
        });
        Self {
            clean: audit.is_clean(),
            entries: audit.entries,
            runs: audit.runs,
            last: audit.last.map(|(last, _)| last),
            hash: audit.last.map(|(_, hash)| hex(&hash)),
            head,
            findings: &audit.findings,
            more: audit.more,
        }
    }
}
