//! What is left for people to do.
use super::{
    facts::{Report, Restored, Todo},
    news::set_aside,
    text,
};

pub fn of(report: &Report) -> Vec<Todo> {
    if let Some(half_way) = &report.half_way {
        return half_way.next.clone();
    }
    let mut todos = Vec::new();
    let mut todo = |text: String, command: Option<&str>| {
        todos.push(Todo { text, command: command.map(str::to_owned) });
    };
    let bytes = text::bytes(report.copies.iter().filter(|c| !c.freed).map(|c| c.bytes).fold(0, u64::saturating_add));
    let version = |version: &str| match text::line(version, 80).as_str() {
        "" => "the version before".to_owned(),
        version => version.to_owned(),
    };
    match report.outcome() {
        Some("upgraded") => {
            let (from, to) = (version(&report.header.from_version), version(&report.header.to_version));
            todo(format!("back to {from} at any time"), Some("backout rollback"));
            todo(format!("keep {to} for good and free {bytes}; there is no way back then"), Some("backout commit"));
        }
        Some("rolled-back") => {
            for restored in &report.restored {
                let Some(aside) = &restored.aside else { continue };
                let (resource, aside) = (text::resource(&restored.resource), text::line(aside, 400));
                match set_aside(&restored.lost).as_str() {
                    "" => todo(format!("{resource}: what was live equals the copy; it is kept at {aside}"), None),
                    lost => todo(format!("{resource}: look at what was written since ({lost}), kept at {aside}"), None),
                }
            }
            let written = |r: &Restored| r.aside.is_some() && !r.lost.is_empty() && r.resource.starts_with("database:");
            if report.restored.iter().any(written) {
                let command = format!("backout salvage {}", report.run);
                todo("bring back what only the new version wrote: statements to read and apply".into(), Some(&command));
            }
            if report.restored.iter().any(|r| r.aside.is_some()) {
                todo("free what was set aside, once nobody needs it".into(), Some("backout commit"));
            }
        }
        Some("prepared") => {
            todo(format!("free the copies ({bytes}) when the upgrade is called off"), Some("backout commit"));
        }
        Some("unverified") => todo("find out why the checks do not hold; nothing was changed".into(), None),
        Some("refused") => {
            let message = report.ending.as_ref().map(|e| text::line(&e.message, 600)).unwrap_or_default();
            todo(format!("nothing was changed; remove the cause and try again: {message}"), None);
        }
        None => todo("find out why this run did not end; nothing but its own copies was touched".into(), None),
        Some(_) => {}
    }
    for copy in report.copies.iter().filter(|c| !c.proven && !c.freed && !c.restored) {
        if copy.comes_later() {
            todo(format!("{}: there is no copy, it is made under the fence", text::resource(&copy.resource)), None);
            continue;
        }
        todo(format!("{}: the copy is NOT proven, do not rely on it", text::resource(&copy.resource)), None);
    }
    todos
}
