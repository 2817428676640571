//! The facts as Markdown. Everything that does not come from this file is escaped.
use super::{
    escape::{code, coded, md},
    facts::{Attempt, Check, Deed, Line, Phase, Progress, Report, Step, Todo},
    news, text,
};
use crate::resource::{Area, Ruling};
use std::fmt::Write;

pub fn markdown(report: &Report) -> String {
    let mut page = Page(String::new());
    page.head(report);
    page.left(report);
    page.half_way(report);
    page.risks(report);
    page.phases(report);
    page.down(report);
    page.checks(report);
    page.metrics(report);
    page.copies(report);
    page.restored(report);
    page.trouble(report);
    page.words(report);
    page.0
}

struct Page(String);

/// Appends a line; a page in memory cannot fail.
macro_rules! put { ($page:expr, $($text:tt)*) => {{ let _ = writeln!($page.0, $($text)*); }} }

impl Page {
    fn head(&mut self, report: &Report) {
        let header = &report.header;
        let outcome = report.outcome().unwrap_or("not ended");
        let what = if header.package.is_empty() {
            header.command.clone()
        } else {
            format!("{}{}", header.package, versions(report))
        };
        put!(self, "# {} on {}: {}\n", md(&what), md(&header.host), md(&outcome.replace('-', " ")));
        let (from, until) = (text::moment(report.started), text::moment(report.until));
        let span = u64::try_from(report.until.as_millisecond() - report.started.as_millisecond()).unwrap_or(0);
        let ended = if report.ending.is_some() { "to" } else { "last entry" };
        put!(
            self,
            "Run {}, `{}`, {from} {ended} {until} ({}).",
            report.run,
            code(&header.command),
            text::duration(span)
        );
        if let Some(ending) = report.ending.as_ref().filter(|e| !e.message.is_empty()) {
            put!(self, "\n> {}", md(&ending.message));
        }
        put!(self, "\n| | |\n| --- | --- |");
        let mut row = |name: &str, value: &str| {
            if !value.is_empty() {
                put!(self, "| {name} | {value} |");
            }
        };
        row("package", md(&format!("{} {}", header.package, header.version)).trim());
        row("package digest", &coded(&header.digest));
        row("site file digest", &coded(&header.site));
        row("host", &md(&header.host));
        row("Backout", &md(&header.backout));
        let point = if header.restore_point == 0 { report.run } else { header.restore_point };
        let resources: Vec<String> = header.holds.iter().map(|r| text::resource(r)).collect();
        if !report.copies.is_empty() || header.restore_point != 0 {
            row("restore point", &format!("run {point}"));
        }
        row("resources", &md(&resources.join(", ")));
        if let Some(ending) = &report.ending {
            row("exit code", &ending.exit.to_string());
        }
    }

    fn heading(&mut self, title: &str) {
        put!(self, "\n## {title}\n");
    }

    fn list(&mut self, title: &str, lines: impl IntoIterator<Item = String>) {
        let mut lines = lines.into_iter().peekable();
        if lines.peek().is_some() {
            self.heading(title);
            lines.for_each(|line| put!(self, "- {line}"));
        }
    }

    fn table<const N: usize>(&mut self, head: [&str; N], rows: impl IntoIterator<Item = [String; N]>) {
        put!(self, "| {} |\n|{}", head.join(" | "), " --- |".repeat(N));
        for row in rows {
            put!(self, "| {} |", row.join(" | "));
        }
    }

    fn left(&mut self, report: &Report) {
        if report.half_way.is_none() {
            self.list("Left to do", report.left.iter().map(todo));
        }
    }

    fn half_way(&mut self, report: &Report) {
        let Some(half_way) = &report.half_way else { return };
        self.heading(if report.ending.is_some() {
            "Half-way: people are needed"
        } else {
            "Not ended: it goes on, or was interrupted"
        });
        for (title, lines) in [("Done", &half_way.done), ("NOT done", &half_way.not_done), ("Safe", &half_way.safe)] {
            if !lines.is_empty() {
                put!(self, "**{title}**\n");
                lines.iter().for_each(|line| put!(self, "- {}", md(line)));
                put!(self, "");
            }
        }
        put!(self, "**Next**\n");
        half_way.next.iter().enumerate().for_each(|(n, next)| put!(self, "{}. {}", n + 1, todo(next)));
    }

    fn risks(&mut self, report: &Report) {
        if !report.risks.is_empty() {
            self.heading("Risks");
            let rows = report.risks.iter().map(|r| [md(&r.severity), md(&r.subject), md(&r.detail)]);
            self.table(["severity", "at stake", "detail"], rows);
        }
    }

    fn phases(&mut self, report: &Report) {
        let told = |p: &&Phase| p.started.is_some() && !(p.steps.is_empty() && p.deeds.is_empty());
        let mut begun = report.phases.iter().filter(told).peekable();
        if begun.peek().is_none() {
            return;
        }
        self.heading("What was done");
        put!(self, "Times are UTC. An estimate with \\* was measured here in earlier runs.");
        begun.for_each(|phase| self.phase(phase));
    }

    fn phase(&mut self, phase: &Phase) {
        let again = if phase.rolled_back && phase.name == "verify" { " after the rollback" } else { "" };
        let started = phase.started.map(text::clock).unwrap_or_default();
        put!(self, "\n### {}{again}: {started}, {}\n", md(&phase.name), text::duration(phase.millis));
        if !phase.steps.is_empty() {
            self.table(
                ["", "step", "title", "began", "took", "estimate", "what is news"],
                phase.steps.iter().map(step),
            );
        }
        let of_steps = phase.steps.iter().flat_map(|s| &s.attempts).flat_map(|a| &a.deeds);
        let mut deeds: Vec<&Deed> = of_steps.chain(&phase.deeds).collect();
        deeds.sort_by_key(|deed| deed.at);
        if !deeds.is_empty() {
            put!(self, "");
            deeds.into_iter().for_each(|d| put!(self, "- {}", deed(d)));
        }
    }

    fn down(&mut self, report: &Report) {
        if report.down.is_empty() {
            return;
        }
        self.heading("Down time");
        let rows = report.down.iter().map(|down| {
            let until = down.until.map_or("still down".to_owned(), text::clock);
            [md(&text::resource(&down.resource)), text::moment(down.from), until, text::duration(down.millis)]
        });
        self.table(["service", "from", "until", "down for"], rows);
        put!(
            self,
            "\nA service counts as down from the call that stops it until it is started again and answers: until the"
        );
        put!(
            self,
            "first `probe.until` of the same step that holds, or, when the step asks for none, until the start has returned."
        );
    }

    fn checks(&mut self, report: &Report) {
        if report.checks.is_empty() {
            return;
        }
        self.heading("Checks");
        let passed = report.checks.iter().filter(|c| c.result == Some(Ruling::Passed)).count();
        put!(self, "{passed} of {} passed.\n", report.checks.len());
        self.table(["", "check", "about", "where", "seen"], report.checks.iter().map(check));
    }

    fn metrics(&mut self, report: &Report) {
        if report.metrics.is_empty() {
            return;
        }
        self.heading("Metrics before and after");
        let rows = report.metrics.iter().map(|m| {
            let shown = |value: Option<f64>| value.map_or("–".to_owned(), |v| md(&text::canonical(v, &m.unit)));
            [
                md(&text::resource(&m.resource)),
                md(&m.name),
                shown(m.before),
                shown(m.after_upgrade),
                shown(m.after_rollback),
                md(&m.must),
            ]
        });
        self.table(["metrics", "name", "before", "after the upgrade", "after the rollback", "must be"], rows);
    }

    fn copies(&mut self, report: &Report) {
        if !report.copies.is_empty() {
            self.heading("Copies");
            let cut =
                if report.one_cut { "All copies are of one moment." } else { "The copies are NOT of one moment." };
            put!(self, "{cut}\n");
            let rows = report.copies.iter().map(|copy| {
                let state = match (copy.freed, copy.restored, copy.proven) {
                    (true, ..) => "freed",
                    (_, true, _) => "restored, live",
                    (_, _, true) => "proven",
                    _ if copy.comes_later() => "not made yet",
                    _ => "NOT proven",
                };
                let print = &copy.fingerprint;
                let schema: String = print.schema.chars().take(12).collect();
                let content = format!(
                    "{} in {}",
                    text::count(print.count()),
                    text::counted(print.parts.len() as u64, "part", "parts")
                );
                let fresh = match (copy.refreshed, copy.brought_up_to_date) {
                    (Some(at), Some(n)) => format!("{}, {}", text::clock(at), text::counted(n, "change", "changes")),
                    _ => "–".to_owned(),
                };
                let schema = if schema.is_empty() { "–".to_owned() } else { coded(&schema) };
                [
                    md(&text::resource(&copy.resource)),
                    state.into(),
                    text::bytes(copy.bytes),
                    content,
                    schema,
                    text::clock(copy.taken),
                    fresh,
                    {
                        let at = copy.position.as_ref().map(|at| format!(" (at {})", md(at))).unwrap_or_default();
                        let why = copy.chosen.as_ref().map(|why| format!("; {}", md(why))).unwrap_or_default();
                        format!("{}{at}{why}", md(&copy.detector))
                    },
                ]
            });
            self.table(
                ["of", "state", "size", "rows or files", "schema", "taken", "brought up to date", "changes found by"],
                rows,
            );
        }
        self.list("Data compared with the restore point", {
            let compared = report.checks.iter().filter(|c| c.operation == "database.check-unchanged");
            compared.map(|c| {
                format!(
                    "{} {}: {}, {}",
                    mark(c.result),
                    md(&text::resource(&c.resource)),
                    md(&c.detail),
                    md(&text::place(&c.place))
                )
            })
        });
        self.list(
            "Freed",
            report.freed.iter().map(|f| format!("{}: {}", md(&text::resource(&f.resource)), text::bytes(f.bytes))),
        );
    }

    fn restored(&mut self, report: &Report) {
        if report.restored.is_empty() {
            return;
        }
        self.heading("Restored and kept aside");
        for restored in &report.restored {
            let resource = md(&text::resource(&restored.resource));
            if !restored.exchanged {
                put!(self, "- {resource}: left alone, nothing had changed it");
                continue;
            }
            let aside = restored.aside.as_deref().map(coded).unwrap_or_default();
            put!(self, "- {resource}: exchanged at {}; what was live is kept at {aside}", text::clock(restored.at));
            for lost in restored.lost.iter().filter(|lost| lost.is_uncounted() || !lost.is_nothing()) {
                if lost.is_uncounted() {
                    put!(self, "  - {}", md(&lost.part));
                    continue;
                }
                let (rows, changed, missing) =
                    (text::count(lost.rows), text::count(lost.changed), text::count(lost.missing));
                put!(
                    self,
                    "  - {}: {rows} only there, {changed} with other content, {missing} not there",
                    md(&lost.part)
                );
            }
            if news::set_aside(&restored.lost).is_empty() {
                put!(self, "  - nothing in it differs from the copy");
            }
        }
    }

    fn trouble(&mut self, report: &Report) {
        let failed = report.phases.iter().flat_map(|phase| {
            phase.steps.iter().flat_map(move |step| step.attempts.iter().map(move |attempt| (phase, step, attempt)))
        });
        self.list("Failed", {
            failed.clone().filter_map(|(phase, step, attempt)| {
                let failure = attempt.failure.as_ref()?;
                let times = if step.attempts_allowed > 1 {
                    format!(", attempt {} of {}", attempt.attempt, step.attempts_allowed)
                } else {
                    String::new()
                };
                Some(format!(
                    "{}/{}{times}: {} ({})",
                    md(&phase.name),
                    md(&step.name),
                    md(&failure.message),
                    text::kind(failure.kind)
                ))
            })
        });
        self.list("Begun, and the end is not recorded", report.unclear.iter().map(deed));
        self.list(
            "Asked for and denied",
            report.denied.iter().map(|d| {
                format!(
                    "{} {}: `{}` on {} needs the right `{}`",
                    text::clock(d.at),
                    md(&text::place(&d.place)),
                    code(&d.operation),
                    md(&d.label),
                    code(&d.right)
                )
            }),
        );
        self.list("Questions without an answer", failed.flat_map(|(_, _, attempt)| &attempt.failed_looks).map(deed));
    }

    fn words(&mut self, report: &Report) {
        self.list(
            "Approvals",
            report.approvals.iter().map(|a| match &a.answer {
                Ok(who) => format!("{} {}: {} approved “{}”", text::clock(a.at), md(&a.role), md(who), md(&a.question)),
                Err(failure) => format!(
                    "{} {}: nobody approved “{}”: {}",
                    text::clock(a.at),
                    md(&a.role),
                    md(&a.question),
                    md(&failure.message)
                ),
            }),
        );
        self.list("What Backout said", report.said.iter().map(said));
        self.list("Notes of the script", report.notes.iter().map(said));
        self.list("Log of the script", report.log.iter().map(said));
    }
}

fn versions(report: &Report) -> String {
    match (report.header.from_version.as_str(), report.header.to_version.as_str()) {
        ("", "") => String::new(),
        ("", to) => format!(" {to}"),
        (from, to) => format!(" {from} → {to}"),
    }
}

fn todo(todo: &Todo) -> String {
    match &todo.command {
        Some(command) => format!("{}: {}", md(&todo.text), coded(command)),
        None => md(&todo.text),
    }
}

fn step(step: &Step) -> [String; 7] {
    let mark = match step.progress {
        Progress::Done => "✓",
        Progress::Failed => "✗",
        Progress::Begun => "?",
        Progress::NotBegun => "–",
    };
    let last = step.attempts.last();
    let took = step.attempts.iter().filter_map(|a| a.millis).fold(0, u64::saturating_add);
    let took = match step.progress {
        Progress::NotBegun => "not begun".to_owned(),
        Progress::Begun => "not ended".to_owned(),
        _ => text::duration(took),
    };
    let measured = if step.measured_runs > 0 { " \\*" } else { "" };
    let estimate = format!("{}{measured}", text::estimate(step.estimate_seconds));
    let times = if step.attempts.len() > 1 {
        format!("attempt {} of {}; ", step.attempts.len(), step.attempts_allowed)
    } else {
        String::new()
    };
    let news = last.map_or(String::new(), |a| format!("{times}{}", tell(a)));
    let began = step.attempts.first().map_or("–".to_owned(), |a| text::clock(a.started));
    [mark.into(), md(&step.name), md(&step.title), began, took, estimate, news]
}

fn tell(attempt: &Attempt) -> String {
    match &attempt.failure {
        Some(failure) => md(&failure.message),
        None => md(&attempt.news),
    }
}

fn deed(deed: &Deed) -> String {
    let step = if deed.place.step.is_empty() { "Backout itself".to_owned() } else { md(&deed.place.step) };
    let on = if deed.label.is_empty() && deed.resource.starts_with("run:") {
        String::new()
    } else {
        format!(" {}", md(&text::resource(&deed.resource)))
    };
    let detail = if deed.detail.is_empty() { String::new() } else { format!(" ({})", md(&deed.detail)) };
    let end = match (&deed.failure, deed.millis) {
        (Some(failure), _) => format!("✗ {}", md(&failure.to_string())),
        (None, Some(millis)) => text::duration(millis),
        (None, None) => "end not recorded".to_owned(),
    };
    format!("{} {step}: `{}`{on}{detail}, {end}", text::clock(deed.at), code(&deed.operation))
}

fn check(check: &Check) -> [String; 5] {
    let area = match check.area {
        Some(Area::Functional) => "function",
        Some(Area::Performance) => "performance",
        Some(Area::Security) => "security",
        Some(Area::Data) => "data",
        None => "–",
    };
    // The detail tells most of them already.
    let untold = check.readings.iter().filter(|reading| !check.detail.contains(&reading.name));
    let told = Some(check.detail.clone()).filter(|detail| !detail.is_empty());
    let seen = told.into_iter().chain(untold.map(text::reading)).collect::<Vec<_>>().join(", ");
    let result = match check.result {
        Some(Ruling::Inconclusive) => "inconclusive: ",
        Some(Ruling::TimedOut) => "timed out: ",
        None => "could not be made: ",
        _ => "",
    };
    [
        mark(check.result).into(),
        md(&check.title),
        area.into(),
        md(&text::place(&check.place)),
        format!("{result}{}", md(&seen)),
    ]
}

fn mark(result: Option<Ruling>) -> &'static str {
    match result {
        Some(Ruling::Passed) => "✓",
        Some(Ruling::Failed | Ruling::TimedOut) => "✗",
        Some(Ruling::Inconclusive) | None => "?",
    }
}

fn said(line: &Line) -> String {
    let level = if line.level == "info" { String::new() } else { format!("{}: ", md(&line.level)) };
    let place = text::place(&line.place);
    let place = if place.is_empty() { place } else { format!(" {}", md(&place)) };
    format!("{}{place}: {level}{}", text::clock(line.at), md(&line.text))
}
