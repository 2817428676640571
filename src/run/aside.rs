//! What rollbacks have set aside, and how long it is kept. Decides; frees nothing.
use super::restore_point::Point;
use crate::resource::{ResourceId, copies::Restored};
use std::time::Duration;

/// Until when something is kept. Milliseconds since 1970-01-01 UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Until {
    Moment(i64),
    ForGood,
}

impl Until {
    pub fn is_over(self, now: i64) -> bool {
        matches!(self, Self::Moment(at) if at <= now)
    }
}

/// Of one resource.
pub struct Aside<'p> {
    pub resource: &'p ResourceId,
    pub restored: &'p Restored,
    /// milliseconds since 1970-01-01 UTC
    pub at: i64,
    /// what somebody has said; `None`: nobody has
    pub said: Option<Until>,
}

impl Aside<'_> {
    /// `keep_aside`: what the site says of the resource. Counted from when its rollback came to a good end.
    pub fn until(&self, point: &Point, keep_aside: Option<Duration>) -> Until {
        let usual = i64::try_from(keep_aside.unwrap_or_default().as_millis()).unwrap_or(i64::MAX);
        let usual = Until::Moment(point.restored_at.unwrap_or(self.at).saturating_add(usual));
        self.said.map_or(usual, |said| said.max(usual))
    }
}

impl Point {
    /// What was set aside and is still there. Where a copy stands by again, nothing of it is.
    pub fn set_aside(&self) -> impl Iterator<Item = Aside<'_>> {
        let point = self.restore_point();
        self.aside().filter(|(id, _)| point.restored.contains(*id)).map(|(resource, restored)| Aside {
            resource,
            restored,
            at: point.aside_at.get(resource).copied().unwrap_or(self.at),
            said: point.kept.get(resource).map(|until| until.map_or(Until::ForGood, Until::Moment)),
        })
    }

    /// What somebody has said is to stay, and how long; the first that is not over yet.
    pub fn kept_by_word(&self, now: i64) -> Option<(&ResourceId, Until)> {
        self.set_aside().find_map(|aside| Some((aside.resource, aside.said.filter(|until| !until.is_over(now))?)))
    }
}
