//! Whether a package was rehearsed, as far as the site requires it.
use super::{Refused, lead::Lead};
use crate::{
    diagnostic::{shown, units::show_duration},
    dry::{Finding, Rule},
    journal::Reader,
    package::Package,
    resource::Clock,
    site::Site,
};
use std::time::Duration;

/// What the site requires and the journal does not show, in one line.
fn missing(site: &Site, package: &Package) -> anyhow::Result<Option<String>> {
    let Some(within) = within(site, package) else { return Ok(None) };
    let runs = match Reader::find(&site.state.join("journal.db"))? {
        Some(reader) => reader.runs()?,
        None => Vec::new(),
    };
    let now = i64::try_from(Clock::Real.unix_millis()).unwrap_or(i64::MAX);
    // Newest first.
    let mut rehearsals = runs.iter().filter(|run| {
        let done = run.ending.as_ref().is_some_and(|ending| ending.outcome == "rehearsed");
        done && run.header.command == "rehearse" && run.header.digest == package.digest
    });
    let age = |started: i64| Duration::from_millis(u64::try_from(now.saturating_sub(started)).unwrap_or(0));
    let newest = rehearsals.clone().next();
    let why = match rehearsals.find(|run| run.ending.as_ref().is_some_and(|ending| ending.exit == 0)) {
        Some(good) if age(good.started) <= within => return Ok(None),
        Some(good) => {
            let age = Duration::from_secs(age(good.started).as_secs() / 60 * 60);
            format!("the newest without findings (run {}) began {} ago", good.run, show_duration(age))
        }
        None => match newest {
            Some(found) => format!("the newest (run {}) had findings", found.run),
            None => "there was none of this very package".to_owned(),
        },
    };
    let within = show_duration(within);
    Ok(Some(format!("{} must have been rehearsed within {within}, and {why}", package.manifest.name)))
}

fn hint(package: &Package) -> String {
    format!("backout rehearse {}", shown(&package.named))
}

pub fn refuse_unrehearsed(lead: &Lead, package: &Package) -> anyhow::Result<()> {
    if let Some(why) = missing(&lead.site, package)? {
        return Err(Refused::new(why).hint(hint(package)).into());
    }
    // Who could write a rehearsal into the journal could do without one.
    match within(&lead.site, package) {
        Some(_) => lead.refuse_another_past(),
        None => Ok(()),
    }
}

fn within(site: &Site, package: &Package) -> Option<Duration> {
    site.allows(package)?.require.rehearsed_within
}

pub fn finding(site: &Site, package: &Package) -> anyhow::Result<Option<Finding>> {
    let finding = |text| Finding { rule: Rule::NotRehearsed, text, hint: hint(package), path: None };
    Ok(missing(site, package)?.map(finding))
}
