//! What is worth knowing of a step, in a line, from the outcomes of its operations.
use super::text;
use crate::{
    condition::{Dimension, scaled},
    journal::Request,
    resource::{
        Failure, Ruling, Verdict,
        copies::{Lost, Restored, Snapshot},
        metrics::Baseline,
    },
};
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::collections::BTreeMap;

/// Grows with each operation of an attempt.
#[derive(Clone, Debug, Default)]
pub struct News {
    copies: u64,
    unproven: u64,
    /// Not made yet.
    later: u64,
    bytes: u64,
    refreshed: Option<u64>,
    restored: Vec<String>,
    others: Vec<String>,
}

/// Longer news are cut.
const MAX: usize = 300;

pub fn output<T: DeserializeOwned>(value: &Value) -> Option<T> {
    T::deserialize(value).ok()
}

/// Operations whose outcome is a `Verdict`.
pub fn is_check(operation: &str) -> bool {
    let function = operation.split_once('.').map_or("", |(_, function)| function);
    function == "check"
        || function.starts_with("check-")
        || matches!(operation, "metrics.compare" | "metrics.watch" | "probe.until" | "probe.tcp")
}

impl News {
    pub fn add(&mut self, request: &Request, result: &Result<Value, Failure>) {
        match result {
            Ok(value) if is_check(&request.operation) => {
                self.others.extend(output::<Verdict>(value).map(|v| verdict(&v)))
            }
            Ok(value) => self.outcome(request, value),
            Err(_) => {}
        }
    }

    fn outcome(&mut self, request: &Request, value: &Value) {
        match request.operation.as_str() {
            "backup.take" => {
                let Some(snapshot) = output::<Snapshot>(value) else { return };
                if snapshot.comes_later() {
                    self.later += 1;
                    return;
                }
                self.copies += 1;
                self.unproven += u64::from(!snapshot.proven);
                self.bytes = self.bytes.saturating_add(snapshot.bytes);
            }
            "backup.refresh" => {
                let Some(snapshot) = output::<Snapshot>(value) else { return };
                self.unproven += u64::from(!snapshot.proven);
                self.refreshed = Some(self.refreshed.unwrap_or(0).saturating_add(snapshot.copied));
            }
            "backup.restore" => {
                let label = text::line(&request.label, 80);
                self.restored.extend(output::<Restored>(value).map(|r| format!("{label} {}", restored(&r))));
            }
            "metrics.baseline" => {
                let recorded: BTreeMap<String, Baseline> = output(value).unwrap_or_default();
                let measures = request.request.get("measures").and_then(output::<BTreeMap<String, Dimension>>);
                let measures = measures.unwrap_or_default();
                let median = |(name, baseline): (&String, &Baseline)| {
                    let dimension = measures.get(name).copied().unwrap_or(Dimension::Any);
                    let (value, unit) = scaled(baseline.median, dimension, None);
                    format!("{} {}", text::line(name, 80), text::measured(value, unit))
                };
                self.others.push(recorded.iter().map(median).collect::<Vec<_>>().join(", "));
            }
            "database.execute" => {
                self.others.extend(value.as_u64().map(|n| format!("{} changed", text::counted(n, "row", "rows"))));
            }
            _ => {}
        }
    }

    /// One line, empty when there is nothing to tell.
    pub fn text(&self) -> String {
        let mut parts = Vec::new();
        if self.copies > 0 {
            let copies = text::counted(self.copies, "copy", "copies");
            let proven =
                if self.unproven == 0 { "proven".to_owned() } else { format!("of which {} NOT proven", self.unproven) };
            parts.push(format!("{copies} {proven}, {}", text::bytes(self.bytes)));
        }
        if self.later > 0 {
            let copies = text::counted(self.later, "copy", "copies");
            parts.push(format!("{copies} to be made under the fence"));
        }
        if let Some(changed) = self.refreshed {
            let unproven = if self.copies == 0 && self.unproven > 0 { ", NOT proven" } else { "" };
            parts.push(match changed {
                0 => format!("copies were up to date{unproven}"),
                n => format!("{} in the copies brought up to date{unproven}", text::counted(n, "change", "changes")),
            });
        }
        parts.extend(self.restored.iter().cloned());
        parts.extend(self.others.iter().rev().take(4).rev().cloned());
        text::line(&parts.join("; "), MAX)
    }
}

fn restored(restored: &Restored) -> String {
    if !restored.exchanged {
        return "left alone, nothing had changed it".to_owned();
    }
    match set_aside(&restored.lost).as_str() {
        "" => "exchanged, nothing set aside".to_owned(),
        lost => format!("exchanged, set aside {lost}"),
    }
}

/// `3 in orders, 1 in customers`, or why nobody can say; empty when what was live equals the copy.
pub fn set_aside(lost: &[Lost]) -> String {
    let part = |lost: &Lost| {
        if lost.is_uncounted() {
            return Some(text::line(&lost.part, 200));
        }
        let n = lost.rows.saturating_add(lost.changed).saturating_add(lost.missing);
        (n > 0).then(|| format!("{} in {}", text::count(n), text::line(&lost.part, 80)))
    };
    lost.iter().filter_map(part).collect::<Vec<_>>().join(", ")
}

fn verdict(verdict: &Verdict) -> String {
    let readings = || verdict.readings.iter().map(text::reading).collect::<Vec<_>>().join(", ");
    match (verdict.result, verdict.readings.is_empty()) {
        (Ruling::Passed, false) => verdict.readings.iter().map(text::plain_reading).collect::<Vec<_>>().join(", "),
        (Ruling::Passed, true) => text::line(&verdict.title, 80),
        (_, _) if !verdict.detail.is_empty() => {
            format!("{}: {}", text::line(&verdict.title, 80), text::line(&verdict.detail, 200))
        }
        (_, _) => format!("{}: {}", text::line(&verdict.title, 80), readings()),
    }
}
