//! The words that a condition may use depend on where it stands.
use super::{Dimension, Subject};

/// Words of the grammar; a metric of this name could not be told from them.
pub const RESERVED: &[&str] = &["and", "baseline", "body", "contains", "header", "json"];

/// The names that there are, and what they measure.
#[derive(Clone, Debug)]
pub struct Words {
    /// `None`: any name is taken.
    names: Option<Vec<(String, Dimension)>>,
    /// `body`, `header …` and `json …`
    answer: bool,
    baseline: bool,
}

impl Words {
    /// Of an answer to a request.
    pub fn answer() -> Self {
        Self { answer: true, ..Self::of([("status", Dimension::Number), ("time", Dimension::Time)]) }
    }

    /// Of a load test.
    pub fn load() -> Self {
        let times = ["p50", "p90", "p95", "p99", "max"].map(|name| (name, Dimension::Time));
        let counts = [("rate", Dimension::Rate), ("errors", Dimension::Fraction), ("requests", Dimension::Number)];
        Self::of(times.into_iter().chain(counts))
    }

    /// Of a resource's metrics. These alone have baselines.
    pub fn metrics<N: Into<String>>(names: impl IntoIterator<Item = (N, Dimension)>) -> Self {
        Self { baseline: true, ..Self::of(names) }
    }

    /// Whatever can be written.
    pub fn any() -> Self {
        Self { names: None, answer: true, baseline: true }
    }

    fn of<N: Into<String>>(names: impl IntoIterator<Item = (N, Dimension)>) -> Self {
        let names = names.into_iter().map(|(name, dimension)| (name.into(), dimension)).collect();
        Self { names: Some(names), answer: false, baseline: false }
    }

    pub(super) fn baseline(&self) -> bool {
        self.baseline
    }

    pub(super) fn answers(&self) -> bool {
        self.answer
    }

    /// What a name measures, if there is such a name.
    pub fn dimension(&self, name: &str) -> Option<Dimension> {
        match &self.names {
            None => Some(Dimension::Any),
            Some(names) => names.iter().find(|(n, _)| n == name).map(|(_, dimension)| *dimension),
        }
    }

    /// What a comparison may begin with, for people.
    pub(super) fn subjects(&self) -> Vec<&str> {
        let names = self.names.iter().flatten().map(|(name, _)| name.as_str());
        names.chain(["body", "header", "json"].into_iter().filter(|_| self.answer)).collect()
    }
}

impl Subject {
    /// Compared as text, whatever the value looks like.
    pub(super) fn is_text(&self) -> bool {
        matches!(self, Self::Body | Self::Header(_))
    }
}
