//! Which restore points go when old ones are cleared away. Decides; frees nothing.
use super::restore_point::{Point, State};
use crate::journal::RunId;
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// What is to stay. With both, only what neither keeps goes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rule {
    /// so many of each package, the newest that are proven
    pub keep: Option<usize>,
    /// and whatever is not older than this
    pub older_than: Option<Duration>,
    /// also what would leave a package without any way back
    pub even_the_last: bool,
}

/// Why a restore point stays. `held`: what the caller knows of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stays {
    Kept,
    Held(String),
    Last,
}

/// What becomes of each, oldest first. `None`: it goes.
pub fn judge(
    points: &[Point],
    rule: Rule,
    now: i64,
    held: impl Fn(&Point) -> Option<String>,
) -> Vec<(&Point, Option<Stays>)> {
    let mut proven: BTreeMap<&str, usize> = BTreeMap::new();
    let newest_first = points.iter().rev();
    let mut judged: Vec<_> = newest_first
        .map(|point| {
            let seen = proven.entry(&point.package).or_default();
            // What is newer than the last that is kept stays with it, also where it is not proven.
            let counted = point.state == State::Ready && rule.keep.is_some_and(|keep| *seen < keep);
            *seen += usize::from(point.is_way_back());
            (point, stays(point, rule, now, counted, &held))
        })
        .collect();
    judged.reverse();
    if !rule.even_the_last {
        let going: BTreeSet<RunId> =
            judged.iter().filter(|(_, stays)| stays.is_none()).map(|(point, _)| point.run).collect();
        for run in lasts(points, &going) {
            judged.iter_mut().filter(|(point, _)| point.run == run).for_each(|(_, stays)| *stays = Some(Stays::Last));
        }
    }
    judged
}

fn stays(
    point: &Point,
    rule: Rule,
    now: i64,
    counted: bool,
    held: &impl Fn(&Point) -> Option<String>,
) -> Option<Stays> {
    // What is freed in part is of no use to anybody.
    if point.state == State::Committed {
        return None;
    }
    if let Some(why) = held(point) {
        return Some(Stays::Held(why));
    }
    let age = u64::try_from(now.saturating_sub(point.restored_at.unwrap_or(point.at))).unwrap_or(0);
    let young = rule.older_than.is_some_and(|old| Duration::from_millis(age) <= old);
    (counted || young).then_some(Stays::Kept)
}

/// The newest way back of every package that would have none any more.
pub fn lasts(points: &[Point], going: &BTreeSet<RunId>) -> Vec<RunId> {
    let mut left: BTreeMap<&str, (RunId, bool)> = BTreeMap::new();
    for point in points.iter().filter(|point| point.is_way_back()) {
        let (newest, any) = left.entry(&point.package).or_default();
        *newest = point.run;
        *any |= !going.contains(&point.run);
    }
    left.into_values().filter(|(_, any)| !any).map(|(newest, _)| newest).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::restore_point::tests::point;

    const HOUR: i64 = 3_600_000;

    fn left(points: &[Point], rule: Rule) -> Vec<RunId> {
        let judged = judge(points, rule, 10 * HOUR, |_| None);
        judged.into_iter().filter(|(_, stays)| stays.is_some()).map(|(point, _)| point.run).collect()
    }

    /// Of run n, n hours old at the tenth.
    fn aged(run: RunId, package: &str, proven: bool) -> Point {
        point(run, package, proven, 10 * HOUR - i64::try_from(run).unwrap() * HOUR)
    }

    #[test]
    fn what_neither_number_nor_age_keeps_goes() {
        let points =
            [aged(5, "a", true), aged(4, "a", true), aged(3, "a", true), aged(2, "a", true), aged(1, "a", true)];
        let keep = |keep, hours: Option<u64>| Rule {
            keep,
            older_than: hours.map(|hours| Duration::from_secs(hours * 3600)),
            even_the_last: false,
        };
        assert_eq!(left(&points, keep(Some(2), None)), [2, 1]);
        assert_eq!(left(&points, keep(None, Some(3))), [3, 2, 1]);
        assert_eq!(left(&points, keep(Some(1), Some(3))), [3, 2, 1]);
        assert_eq!(left(&points, keep(Some(4), Some(3))), [4, 3, 2, 1]);
        assert_eq!(left(&points, keep(Some(0), None)), [1], "the last");
        assert_eq!(left(&points, keep(None, Some(0))), [1], "the last");
        assert_eq!(left(&points, Rule { even_the_last: true, ..keep(Some(0), None) }), [0; 0]);
    }

    #[test]
    fn what_is_not_proven_takes_nobodys_place() {
        let points = [aged(4, "a", true), aged(3, "a", true), aged(2, "a", false), aged(1, "b", false)];
        let keep = |keep| Rule { keep: Some(keep), ..Rule::default() };
        assert_eq!(left(&points, keep(1)), [3, 2, 1], "newer than the one that is kept");
        assert_eq!(left(&points, keep(0)), [3], "what was never proven is no way back");
    }

    #[test]
    fn what_is_needed_stays_and_counts() {
        let points = [aged(3, "a", true), aged(2, "a", true), aged(1, "a", true)];
        let held = |point: &Point| (point.run == 3).then(|| "somebody needs it".to_owned());
        let rule = Rule { keep: Some(0), ..Rule::default() };
        let judged = judge(&points, rule, 0, held);
        let stays: Vec<_> = judged.into_iter().map(|(_, stays)| stays).collect();
        assert_eq!(stays, [Some(Stays::Held("somebody needs it".into())), None, None]);
    }
}
