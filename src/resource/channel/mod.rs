//! Where people are told how things go: mail, chat, whatever a pager listens to.
pub mod drivers;
mod message;

pub use message::{Asked, By, MAX_TEXT, MAX_TITLE, Message, key};

use super::{CallCtx, Failure, Header, Kind};
use async_trait::async_trait;
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    path::PathBuf,
    time::Duration,
};

/// `[channel.NAME]` of the site.
#[derive(Clone)]
pub struct Section {
    pub driver: Driver,
    /// For one attempt.
    pub timeout: Duration,
    /// For all attempts together.
    pub within: Duration,
    /// What Backout itself tells here.
    pub on: BTreeSet<Occasion>,
}

#[derive(Clone)]
pub enum Driver {
    /// A POST of JSON that is signed.
    Webhook {
        url: String,
        secret: String,
        headers: BTreeMap<String, Header>,
    },
    /// A Slack-compatible incoming webhook, whose address is the secret.
    Slack {
        url: String,
    },
    Smtp(Smtp),
    /// `url` without the path of its API.
    Alertmanager {
        url: String,
        headers: BTreeMap<String, Header>,
        labels: BTreeMap<String, String>,
    },
    Command(Command),
}

#[derive(Clone)]
pub struct Smtp {
    pub host: String,
    pub port: u16,
    pub tls: Tls,
    /// User and password.
    pub login: Option<(String, String)>,
    pub from: String,
    pub to: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tls {
    /// From the first byte.
    Always,
    /// Begun in the clear; without it nothing is said.
    Starttls,
    /// Only to this machine itself.
    Never,
}

/// A fixed command line, which reads the message.
#[derive(Clone)]
pub struct Command {
    pub run: Vec<String>,
    pub dir: PathBuf,
    pub env: BTreeMap<String, String>,
    pub user: Option<String>,
}

impl Driver {
    pub fn word(&self) -> &'static str {
        match self {
            Self::Webhook { .. } => "webhook",
            Self::Slack { .. } => "slack",
            Self::Smtp(_) => "smtp",
            Self::Alertmanager { .. } => "alertmanager",
            Self::Command(_) => "command",
        }
    }
}

/// Addresses, headers and passwords may be secrets, so only the sort is shown.
impl fmt::Debug for Section {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { driver, timeout, within, on } = self;
        let mut shown = f.debug_struct("Section");
        shown.field("driver", &driver.word()).field("timeout", timeout).field("within", within).field("on", on);
        shown.finish_non_exhaustive()
    }
}

/// When Backout tells of a run by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Occasion {
    /// It begins to change things.
    Start,
    /// Somebody is asked, or it stands half-way.
    NeedsPeople,
    /// It goes back, or it stopped.
    Failed,
    /// The old version runs again.
    RolledBack,
    /// It has ended, however.
    End,
}

impl Occasion {
    pub const ALL: &'static [Self] = &[Self::Start, Self::NeedsPeople, Self::Failed, Self::RolledBack, Self::End];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::NeedsPeople => "needs-people",
            Self::Failed => "failed",
            Self::RolledBack => "rolled-back",
            Self::End => "end",
        }
    }
}

/// What the site says to a script that is lent one.
#[derive(Clone, Debug, Default)]
pub struct Terms {
    /// Whose script speaks.
    pub package: String,
    pub within: Duration,
}

pub type Observer = dyn Observe;
pub type Mutator = dyn Mutate;

pub trait Observe: Send + Sync {
    /// Whether whoever receives a message again can tell by its key that it is the same one.
    fn tells_apart(&self) -> bool;
}

#[async_trait]
pub trait Mutate: Send + Sync {
    /// Tries until it is told, or its time is over; then it is not tried any more. One that was cut off may have been told all
    /// the same. Sent again under the same key it is the same message.
    async fn send(&self, message: &Message, call: &CallCtx) -> Result<(), Failure>;
}

pub struct Channel;

impl Kind for Channel {
    const NAME: &'static str = "channel";
    type Observer = Observer;
    type Mutator = Mutator;
    type Terms = Terms;
}
