//! The last words of a run: the state in which things are, and what to do.
use crate::report::{Report, stopped, text};
use std::path::PathBuf;

/// `folder`: where the whole report is, if it could be written.
pub fn text(report: &Report, folder: Option<&PathBuf>) -> String {
    let header = &report.header;
    let closed = match report.down_millis() {
        0 => String::new(),
        millis => format!(" Closed for {}.", text::duration(millis)),
    };
    let name = if header.package.is_empty() { &header.command } else { &header.package };
    let message = report.ending.as_ref().map(|e| text::line(&e.message, 600)).unwrap_or_default();
    let head = match report.outcome() {
        Some("upgraded") => format!("✓ {name} runs {}.{closed}", header.to_version),
        Some("rolled-back") if message.is_empty() => {
            format!("↩ {name} runs {} again, as before.{closed}", before(report))
        }
        Some("rolled-back") => {
            format!("↩ {name} runs {} again, as before. Not upgraded: {message}.{closed}", before(report))
        }
        Some("prepared") => {
            let bytes = report.copies.iter().map(|c| c.bytes).fold(0, u64::saturating_add);
            let later = report.copies.iter().filter(|c| c.comes_later()).count();
            let copies = text::counted((report.copies.len() - later) as u64, "copy", "copies");
            let later = if later > 0 { format!(", {later} to be made under the fence") } else { String::new() };
            format!("✓ restore point {}: {copies} proven, {}{later}.", report.run, text::bytes(bytes))
        }
        Some("verified") => {
            format!("✓ {name} passes: {}.", text::counted(passed(report), "check holds", "checks hold"))
        }
        Some("unverified") => format!("✗ {message}"),
        Some("assessed") => assessed(report),
        Some("committed") => "✓ committed: the copies are freed, the way back has ended.".to_owned(),
        Some("deleted") => "✓ deleted: the copies are freed.".to_owned(),
        Some("kept") => "✓ kept: `backout aside` says until when.".to_owned(),
        Some("dropped") => "✓ dropped: what was set aside is freed.".to_owned(),
        Some("unfenced") => "✓ no database is fenced.".to_owned(),
        Some("refused") => format!("✗ refused, nothing was changed: {message}"),
        _ => stopped(report).unwrap_or_else(|| format!("✗ {message}")),
    };
    let mut text = format!("{}\n", head.trim_end());
    if report.half_way.is_none() {
        for todo in &report.left {
            match &todo.command {
                Some(command) => text += &format!("  {command:<20}  {}\n", todo.text),
                None if report.outcome() == Some("refused") => {}
                None => text += &format!("  {}\n", todo.text),
            }
        }
    }
    if let Some(folder) = folder {
        text += &format!("  Report: {}\n", folder.join("report.md").display());
    }
    text
}

fn before(report: &Report) -> &str {
    match report.header.from_version.as_str() {
        "" => "the version before",
        version => version,
    }
}

fn passed(report: &Report) -> u64 {
    report.checks.iter().filter(|c| c.result == Some(crate::resource::Ruling::Passed)).count() as u64
}

fn assessed(report: &Report) -> String {
    let mut text = match report.risks.len() {
        0 => "✓ the script sees no risks.\n".to_owned(),
        n => format!("{}\n", text::counted(n as u64, "risk", "risks")),
    };
    for risk in &report.risks {
        let (subject, detail) = (text::line(&risk.subject, 40), text::line(&risk.detail, 400));
        text += &format!("  {:<8} {subject:<14} {detail}\n", risk.severity);
    }
    text
}
