//! The scenarios: what is played, and how each must end.
use super::{
    Scenario, client,
    folder::PACKAGE,
    proof,
    stage::Stage,
    stock,
    summary::{Aside, Ending, Summary},
};
use crate::{cli::ui, report::text};
use rusqlite::{Connection, OpenFlags};
use std::{fs, io, os::unix::fs::MetadataExt, path::Path};

pub fn play(stage: &mut Stage, scenario: Scenario) -> anyhow::Result<Summary> {
    match scenario {
        Scenario::BadUpgrade => bad_upgrade(stage)?,
        Scenario::GoodUpgrade => return good_upgrade(stage),
        Scenario::Denied => denied(stage)?,
        Scenario::BrokenRollback => broken_rollback(stage)?,
    }
    let mut summary = Summary::of(stage, scenario, Ending::AsBefore)?;
    let differences = match stage.look() {
        Ok(now) => now.differences(&stage.before),
        Err(error) => vec![format!("{error:#}")],
    };
    stage.wrong.extend(differences.iter().map(|line| format!("the state is not the one before: {line}")));
    let health = client::get(stage.folder.port, "/health").map(|answer| (answer.status, answer.version));
    let healthy = health.as_ref().is_ok_and(|health| *health == (200, "1.0.0".to_owned()));
    stage.expect(healthy, format!("1.0 does not answer: {health:?}"));
    summary.differences = differences;
    if scenario == Scenario::Denied {
        let outages = stage.seen().outages.len();
        stage.expect(outages == 0, format!("the client saw {outages} outages, although nothing was done"));
        stage.expect(summary.aside.is_none(), "something was set aside, although nothing was done");
    } else {
        let orders = stage.seen().orders;
        stage.expect(orders > 0, "2.0 never took an order, so nothing was taken back");
        let kept = summary.aside.as_ref().map_or(0, |aside| aside.orders);
        stage.expect(kept >= orders, format!("{kept} orders are kept aside, 2.0 had confirmed {orders}"));
    }
    Ok(summary)
}

/// The script watches 2.0, sees the errors, and goes back by itself.
fn bad_upgrade(stage: &mut Stage) -> anyhow::Result<()> {
    stage.backout(&["check", PACKAGE], 0)?;
    stage.backout(&["upgrade", PACKAGE, "--yes"], 4)
}

/// The site says nothing of two rights that 2.0 needs; nobody is asked in the middle of a night.
fn denied(stage: &mut Stage) -> anyhow::Result<()> {
    stage.backout(&["check", PACKAGE], 3)?;
    stage.backout(&["upgrade", PACKAGE, "--yes"], 3)?;
    stage.backout(&["allow", PACKAGE], 3)
}

/// A program that nobody thought of holds the database open, so that it cannot be exchanged.
fn broken_rollback(stage: &mut Stage) -> anyhow::Result<()> {
    stage.backout_while(&["upgrade", PACKAGE, "--yes"], 5, |stage| {
        if !stage.export_runs() && stage.seen().orders > 0 {
            let process = stage.start_export()?;
            // The command may be drawing its progress on this line.
            let line = if console::user_attended_stderr() { "\r\x1b[2K" } else { "" };
            ui::say(&format!("{line}  (meanwhile somebody starts the nightly export: process {process})"));
        }
        Ok(())
    })?;
    let (export, orders) = (stage.export_runs(), stage.seen().orders);
    stage.expect(export, format!("the export never began: 2.0 confirmed {orders} orders"));
    say("The demo now plays the operator who was called: the export can wait for another night.");
    stage.end_export()?;
    stage.backout(&["rollback", "--yes"], 0)
}

/// 2.0.1 has the bug mended; after a while the operator is content and frees the copies.
fn good_upgrade(stage: &mut Stage) -> anyhow::Result<Summary> {
    stage.backout(&["check", PACKAGE], 0)?;
    stage.backout(&["upgrade", PACKAGE, "--yes"], 0)?;
    stage.until("2.0.1 takes orders", || stage.seen().orders > 0)?;
    let used = occupied(&stage.folder.root)?;
    stage.backout(&["commit", "--yes"], 0)?;
    let freed = used.saturating_sub(occupied(&stage.folder.root)?);
    say(&format!("The folder of this demo has become {} smaller.", text::bytes(freed)));
    stage.expect(freed > 0, "committing has freed nothing");
    let mut summary = Summary::of(stage, Scenario::GoodUpgrade, Ending::Upgraded)?;
    summary.freed_bytes = Some(freed);
    let seen = stage.seen();
    stage.expect(seen.errors == 0, format!("the client got {} errors from 2.0.1", seen.errors));
    stage.expect(seen.version.as_deref() == Some("2.0.1"), format!("the shop is {:?}", seen.version));
    let current = fs::read_link(stage.folder.path("srv/app/current"))?;
    stage.expect(current == Path::new("versions/2.0"), format!("current is {}", current.display()));
    // Every order is still there, the new ones too.
    let db = Connection::open_with_flags(stage.folder.database(), OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    let count = |sql| db.query_row(sql, [stock::ORDERS], |r| r.get::<_, i64>(0));
    let (old, new) = (
        count("SELECT count(*) FROM orders WHERE id <= ?1 AND state IS NOT NULL")?,
        count("SELECT count(*) FROM orders WHERE id > ?1")?,
    );
    stage.expect(old == i64::from(stock::ORDERS), format!("{old} of {} orders are left", stock::ORDERS));
    let confirmed = seen.orders;
    stage.expect(new >= confirmed as i64, format!("{new} new orders, {confirmed} were confirmed"));
    Ok(summary)
}

/// Orders that 2.0 had taken, counted in the file that a rollback has set aside.
pub fn orders_aside(file: &Path) -> anyhow::Result<Aside> {
    Ok(Aside { place: file.to_owned(), orders: proof::rows_after(file, "orders", stock::ORDERS.into())? })
}

/// Bytes that a folder takes on its disk.
fn occupied(folder: &Path) -> io::Result<u64> {
    let about = fs::symlink_metadata(folder)?;
    let mut bytes = about.blocks() * 512;
    if about.is_dir() {
        for entry in fs::read_dir(folder)? {
            bytes += occupied(&entry?.path())?;
        }
    }
    Ok(bytes)
}

fn say(text: &str) {
    ui::say(&format!("\n{text}"));
}
