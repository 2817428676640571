//! Runs without a script that were cut off. Nobody goes on with them: the same is said again. What they had begun has come to its
//! end then, and so have they.
use super::lead::Lead;
use crate::{
    journal::{Ending, Entry, Journal, Reader, Request, RunSummary},
    run::{Locks, life_cycle::Outcome, restore_point::Point},
};

/// Of those that were to free copies, once nothing is left that they had begun to free.
pub fn close_freeing(lead: &Lead) -> anyhow::Result<()> {
    let Some(reader) = Reader::find(&lead.journal())? else { return Ok(()) };
    let open = cut_off(lead, &reader, &["commit", "delete", "drop"])?;
    if open.is_empty() {
        return Ok(());
    }
    let points = lead.points()?;
    for run in open {
        let begun: Vec<Request> = reader.entries(run.run)?.into_iter().filter_map(|r| discard(r.entry)).collect();
        if !begun.iter().all(|begun| points.iter().any(|point| is_free(point, begun))) {
            continue;
        }
        let ending = match (begun.is_empty(), run.header.command.as_str()) {
            (true, _) => Outcome::Refused("it was cut off before it began to free anything".to_owned()).ending(),
            (false, "commit") => of_cut_off(&Outcome::Committed),
            (false, "drop") => of_cut_off(&Outcome::Dropped),
            (false, _) => of_cut_off(&Outcome::Deleted),
        };
        Journal::conclude(&lead.journal(), run.run, ending)?;
    }
    Ok(())
}

/// Of those that were to let applications in, once all are.
pub fn close_unfencing(lead: &Lead) -> anyhow::Result<()> {
    let Some(reader) = Reader::find(&lead.journal())? else { return Ok(()) };
    for run in cut_off(lead, &reader, &["unfence"])? {
        Journal::conclude(&lead.journal(), run.run, of_cut_off(&Outcome::Unfenced))?;
    }
    Ok(())
}

/// Of those that were to keep what was set aside: what they have written down counts, the rest is to be said again.
pub fn close_keeping(lead: &Lead) -> anyhow::Result<()> {
    let Some(reader) = Reader::find(&lead.journal())? else { return Ok(()) };
    for run in cut_off(lead, &reader, &["keep"])? {
        let message = "it was cut off; `backout aside` says what is kept".to_owned();
        let ending = Ending { outcome: "failed".to_owned(), exit: 1, message, ..Ending::default() };
        Journal::conclude(&lead.journal(), run.run, ending)?;
    }
    Ok(())
}

/// Of rehearsals, of which nothing is left.
pub fn close_rehearsals(lead: &Lead) -> anyhow::Result<()> {
    let Some(reader) = Reader::find(&lead.journal())? else { return Ok(()) };
    for run in cut_off(lead, &reader, &["rehearse"])? {
        let (outcome, message) = ("failed".to_owned(), "it was cut off; nothing of it is left".to_owned());
        Journal::conclude(&lead.journal(), run.run, Ending { outcome, exit: 1, message, ..Ending::default() })?;
    }
    Ok(())
}

fn of_cut_off(outcome: &Outcome) -> Ending {
    Ending { message: "it was cut off; what it had begun is done".to_owned(), ..outcome.ending() }
}

fn cut_off(lead: &Lead, reader: &Reader, commands: &[&str]) -> anyhow::Result<Vec<RunSummary>> {
    let held = Locks::held(&lead.site.state)?;
    let mut runs = reader.runs()?;
    runs.retain(|run| {
        run.ending.is_none() && commands.contains(&run.header.command.as_str()) && !held.contains(&run.run)
    });
    Ok(runs)
}

fn discard(entry: Entry) -> Option<Request> {
    match entry {
        Entry::Intent(request) if request.operation == "backup.discard" => Some(request),
        _ => None,
    }
}

fn is_free(point: &Point, begun: &Request) -> bool {
    let point = point.restore_point();
    let of = point.snapshots.iter().find(|(resource, _)| resource.to_string() == begun.resource);
    of.is_some_and(|(resource, copy)| {
        begun.request["snapshot"]["id"] == copy.id.as_str() && point.freed.contains(resource)
    })
}
