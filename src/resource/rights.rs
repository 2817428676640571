use serde::{Deserialize, Serialize};
use std::{collections::BTreeSet, fmt, str::FromStr};

/// What may be done with a resource. A package needs rights, a site grants them; the effective ones are in both.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Right {
    Read,
    Write,
    Backup,
    Restore,
    Fence,
    Control,
    Logs,
    Get,
    Load,
    Run,
    Send,
    Promql,
}

impl Right {
    pub const ALL: &'static [Right] = &[
        Self::Read,
        Self::Write,
        Self::Backup,
        Self::Restore,
        Self::Fence,
        Self::Control,
        Self::Logs,
        Self::Get,
        Self::Load,
        Self::Run,
        Self::Send,
        Self::Promql,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Backup => "backup",
            Self::Restore => "restore",
            Self::Fence => "fence",
            Self::Control => "control",
            Self::Logs => "logs",
            Self::Get => "get",
            Self::Load => "load",
            Self::Run => "run",
            Self::Send => "send",
            Self::Promql => "promql",
        }
    }

    /// The rights that have a meaning for a kind of resource; empty for an unknown kind.
    pub fn of_kind(kind: &str) -> &'static [Right] {
        match kind {
            "database" => &[Self::Read, Self::Write, Self::Backup, Self::Restore, Self::Fence],
            "tree" => &[Self::Read, Self::Write, Self::Backup, Self::Restore],
            "service" => &[Self::Read, Self::Control, Self::Logs],
            "metrics" => &[Self::Read, Self::Promql],
            "probe" => &[Self::Get, Self::Load],
            "tool" => &[Self::Run],
            "channel" => &[Self::Send],
            _ => &[],
        }
    }
}

impl fmt::Display for Right {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
impl FromStr for Right {
    type Err = ();
    fn from_str(text: &str) -> Result<Self, ()> {
        Self::ALL.iter().copied().find(|r| r.as_str() == text).ok_or(())
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rights(BTreeSet<Right>);

impl Rights {
    pub fn all() -> Self {
        Self(Right::ALL.iter().copied().collect())
    }
    /// Whoever may control a service may also ask how it is.
    pub fn allow(&self, right: Right) -> bool {
        self.0.contains(&right) || (right == Right::Read && self.0.contains(&Right::Control))
    }
    pub fn contains(&self, right: Right) -> bool {
        self.0.contains(&right)
    }
    pub fn both(&self, other: &Self) -> Self {
        Self(self.0.intersection(&other.0).copied().collect())
    }
    pub fn without(&self, other: &Self) -> Self {
        Self(self.0.difference(&other.0).copied().collect())
    }
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
    pub fn iter(&self) -> impl Iterator<Item = Right> {
        self.0.iter().copied()
    }
}

impl FromIterator<Right> for Rights {
    fn from_iter<I: IntoIterator<Item = Right>>(rights: I) -> Self {
        Self(rights.into_iter().collect())
    }
}
