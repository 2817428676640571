//! What a rollback has set aside, as statements for people to read and apply. A look, and no run: nothing that anybody else could
//! see is changed, and nothing is written down that somebody could need later.
use super::{
    Exit, Global, Refused,
    aside::point_of,
    columns::{columns, count},
    lead::{self, Common, Lead},
    moment, state, ui,
};
use crate::{
    diagnostic::shown,
    journal::{Reader, RunId},
    report::text,
    resource::{
        CallCtx, Database, Kind, ResourceId, Resources,
        copies::Snapshot,
        database::salvage::{Salvage, Salvaged, Sheet},
    },
    run::restore_point::Point,
};
use anyhow::Context;
use serde::Serialize;
use std::{
    fmt::Write as _,
    fs::{self, DirBuilder, Permissions},
    os::unix::fs::{DirBuilderExt, PermissionsExt},
    path::{Path, PathBuf},
    time::Duration,
};

/// Bring back what a rollback has set aside
///
/// Compares what was set aside, the restore point and what is live, and writes what only the new version wrote as SQL statements
/// in the schema that is live, for people to read and apply. What both versions wrote, and what the old schema has no place for,
/// is told beside them. Nothing is applied. Reads all of it, and keeps runs away from it meanwhile.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The restore point, or the run that went back to it
    run: RunId,
    /// Only this database: its name in the site
    #[arg(long, value_name = "NAME")]
    database: Option<String>,
    /// Where to write: a folder that is not there, or empty; `salvage-RUN` when it is left out
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
}

/// Of one database, which is read once.
const PATIENCE: Duration = Duration::from_secs(6 * 3600);

#[derive(Serialize)]
struct View<'a> {
    /// of the restore point
    run: RunId,
    /// `null`: there was nothing to write
    folder: Option<&'a Path>,
    databases: &'a [Of],
}

#[derive(Serialize)]
struct Of {
    database: String,
    #[serde(flatten)]
    salvaged: Salvaged,
}

impl Args {
    pub fn execute(self, global: &Global) -> anyhow::Result<Exit> {
        lead::lead(global, Common::default(), async |lead| {
            lead.refuse_another_past()?;
            let out = self.out.clone().unwrap_or_else(|| format!("salvage-{}", self.run).into());
            let (parent, name) = place(&out)?;
            let (points, databases) = self.set_aside(&lead)?;
            let named: Vec<&ResourceId> = databases.iter().map(|(id, _)| id).collect();
            let mut all = lead.site.everything()?;
            all.database.0.retain(|_, lend| named.contains(&&lend.id));
            let hold = lead.hold(Resources { database: all.database, ..Resources::default() }).await?;
            // Nobody else may look into it, as long as it has no name yet either.
            let private = Permissions::from_mode(0o700);
            let staging = tempfile::Builder::new().prefix(".salvage-").permissions(private).tempdir_in(&parent);
            let staging =
                staging.with_context(|| format!("make a folder in {}", shown(&parent.display().to_string())))?;
            let mut done = Vec::new();
            for (id, snapshot) in &databases {
                let Some(lend) = hold.resources.database.0.values().find(|lend| lend.id == *id) else {
                    return Err(Refused::new(format!("database {} is not in the site any more", shown(&id.name)))
                        .hint("put its section back")
                        .into());
                };
                let folder = staging.path().join(&id.name);
                DirBuilder::new().mode(0o700).create(&folder).context("make a folder for the database")?;
                let call = CallCtx::aside(format!("salvage/{}/{id}", points.run), PATIENCE);
                let call = CallCtx { cancel: lead.cancel.clone(), ..call };
                let salvaged = lend.access.observer.salvage(snapshot, &folder, &call).await;
                if lead.cancel.is_cancelled() {
                    return Err(Refused::new("stopped; nothing was written").into());
                }
                let salvaged = salvaged.with_context(|| format!("salvage database {}", shown(&id.name)))?;
                write(&folder.join("unmapped.md"), &unmapped(&salvaged)).context("write unmapped.md")?;
                done.push(Of { database: id.name.clone(), salvaged });
            }
            let empty = done.iter().all(|of| of.salvaged.is_empty());
            if !empty {
                write(&staging.path().join("README.md"), &readme(&points, &done)).context("write README.md")?;
                settle(staging, &parent.join(&name))?;
            }
            let folder = (!empty).then_some(out.as_path());
            if global.json {
                ui::json(&View { run: points.run, folder, databases: &done })?;
            } else {
                ui::result(&told(&done, folder));
            }
            Ok(Exit::Done)
        })
    }

    /// The databases of which something was set aside, as far as they were asked for.
    fn set_aside(&self, lead: &Lead) -> anyhow::Result<(Point, Vec<(ResourceId, Snapshot)>)> {
        if !lead.journal().exists() {
            return Err(Refused::new("there was no run yet, so nothing is set aside").into());
        }
        let (points, journal) = (lead.points()?, Reader::open(&lead.journal())?);
        let point = point_of(&points, &journal, self.run)?;
        let copies = &point.restore_point().snapshots;
        let asked = |id: &ResourceId| self.database.as_ref().is_none_or(|name| *name == id.name);
        let databases =
            point.set_aside().filter(|aside| aside.resource.kind == Database::NAME && asked(aside.resource));
        let databases =
            databases.filter_map(|aside| Some((aside.resource.clone(), copies.get(aside.resource)?.clone())));
        let databases: Vec<_> = databases.collect();
        if databases.is_empty() {
            let name = self.database.as_ref().map(|name| format!("database {}", text::line(name, 80)));
            let of = name.as_deref().unwrap_or("any database");
            return Err(Refused::new(format!("nothing is set aside of {of} of run {}", point.run))
                .hint("`backout aside` lists what is set aside, by run")
                .into());
        }
        Ok((point.clone(), databases))
    }
}

/// The folder that is written into, and the new name in it.
fn place(out: &Path) -> anyhow::Result<(PathBuf, PathBuf)> {
    let shown = shown(&out.display().to_string());
    let free = match fs::read_dir(out) {
        Ok(mut entries) => entries.next().is_none(),
        Err(error) => error.kind() == std::io::ErrorKind::NotFound && out.symlink_metadata().is_err(),
    };
    if !free {
        return Err(Refused::new(format!("{shown} is there, and no empty folder"))
            .hint("name another one with `--out`")
            .into());
    }
    let Some(name) = out.file_name() else {
        return Err(Refused::new(format!("{shown} is no name of a folder")).hint("name one with `--out`").into());
    };
    let parent = out.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if !parent.is_dir() {
        let parent = parent.display().to_string();
        return Err(Refused::new(format!("there is no folder {}", crate::diagnostic::shown(&parent))).into());
    }
    Ok((parent.to_owned(), PathBuf::from(name)))
}

/// All of it has its name at once, and is on disk then.
fn settle(staging: tempfile::TempDir, out: &Path) -> anyhow::Result<()> {
    let settled = || -> std::io::Result<()> {
        for entry in fs::read_dir(staging.path())? {
            let path = entry?.path();
            fs::File::open(path)?.sync_all()?;
        }
        fs::File::open(staging.path())?.sync_all()?;
        fs::rename(staging.path(), out)?;
        // It is not where it was made any more, so nothing is cleared away.
        let _ = staging.keep();
        fs::File::open(out.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new(".")))?.sync_all()
    };
    settled().with_context(|| format!("give {} its name", shown(&out.display().to_string())))
}

fn write(path: &Path, text: &str) -> std::io::Result<()> {
    state::write_whole(path, text)
}

fn told(done: &[Of], folder: Option<&Path>) -> String {
    let head = ["database", "table", "inserts", "updates", "deletes", "conflicts"];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    for of in done {
        rows.extend(of.salvaged.tables.iter().map(|table| row(&of.database, table)));
    }
    let mut text = if rows.len() > 1 { columns(&rows) } else { String::new() };
    for of in done {
        for line in of.salvaged.unmapped.iter().chain(&of.salvaged.notes) {
            text += &format!("\n{}: {}", text::line(&of.database, 80), text::line(line, 400));
        }
    }
    text + &match folder {
        Some(folder) => {
            format!("\nRead {} first; nothing was applied.", shown(&folder.join("README.md").display().to_string()))
        }
        None => "What was set aside has nothing that is not live; nothing was written.".to_owned(),
    }
}

fn row(database: &str, table: &Salvage) -> Vec<String> {
    let counts = [table.inserts, table.updates, table.deletes, table.conflicts].map(text::count);
    [vec![text::line(database, 80), text::line(&table.table, 80)], counts.to_vec()].concat()
}

fn unmapped(salvaged: &Salvaged) -> String {
    let mut text = "# What these statements do not bring back\n\n".to_owned();
    if salvaged.unmapped.is_empty() {
        text += "Nothing: the schema that is live has a place for all that was set aside.\n";
    }
    for line in &salvaged.unmapped {
        let _ = writeln!(text, "- {}", escaped(line));
    }
    text
}

fn readme(point: &Point, done: &[Of]) -> String {
    let (package, from, to) = (&point.package, &point.from_version, &point.to_version);
    let [package, from, to] = [package, from, to].map(|word| escaped(&text::line(word, 80)));
    let mut text = format!(
        "# What {package} {to} wrote before it was taken back\n\n\
         Of restore point {}, written {}. These files hold data of customers: nobody but their owner can read them; delete them \
         when they are of no use any more.\n\n\
         {to} is the new version, {from} the old one. *New* is what was live before the rollback, *before* is the restore point, \
         and *live* is what the old version has made of it until this was written. A statement stands here when only the new \
         version has changed a row; when both have, the row is a conflict. Nothing has been applied.\n\n",
        point.run,
        moment::local(moment::now()),
    );
    for of in done {
        let (statements, conflicts) = of.salvaged.counts();
        let name = escaped(&shown(&of.database));
        let _ = write!(
            text,
            "## Database {name}\n\n{}, {}.\n\n| table | inserts | updates | deletes | conflicts |\n| --- | --- | --- | --- | --- |\n",
            count(usize::try_from(statements).unwrap_or(usize::MAX), "statement"),
            count(usize::try_from(conflicts).unwrap_or(usize::MAX), "conflict"),
        );
        for table in &of.salvaged.tables {
            let Salvage { table, inserts, updates, deletes, conflicts } = table;
            let _ = writeln!(text, "| {} | {inserts} | {updates} | {deletes} | {conflicts} |", escaped(table));
        }
        text.push('\n');
        for note in &of.salvaged.notes {
            let _ = writeln!(text, "{}\n", escaped(note));
        }
    }
    text + "\
## How to apply it

1. Read the files. Take out what is not to come back. `unmapped.md` says what the old schema has no place for.
2. Decide each row in `conflicts.sql`: what is there is commented out. Correct it and make it a statement, or leave it.
3. Take a backup, and stop the product if it must not see half of it.
4. Apply the files in their order, stopping at the first error, then your statements of `conflicts.sql`:

" + &applied(done) + "
Each file is one transaction, with foreign keys enforced: it is applied as a whole or not at all. What was written since these files
were made is left alone: a row whose key is there already is not inserted, one that is not as it was any more is neither updated nor
deleted, and one that is still referred to is not deleted. So applying a file again changes nothing.
"
}

/// The commands, for each kind of database once.
fn applied(done: &[Of]) -> String {
    let mut commands: Vec<&str> = done.iter().map(|of| of.salvaged.apply).collect();
    commands.sort_unstable();
    commands.dedup();
    let sheets = [Sheet::Inserts, Sheet::Updates, Sheet::Deletes];
    let line = |command: &str, sheet: Sheet| format!("       {}\n", command.replace("FILE", sheet.name()));
    commands.iter().flat_map(|command| sheets.map(|sheet| line(command, sheet))).collect()
}

/// Of a name that may hold anything: no markup.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        if "\\`*_{}[]<>#|".contains(c) {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    escaped
}
