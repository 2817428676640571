//! What a script does, as data: told to the guest `tests/guests/scripted`, and known to the model.
use backout::{resource::FailureKind, run::Phase};
use proptest::{
    prelude::*,
    sample::{Index, select},
};
use std::fmt::{self, Write as _};

#[derive(Clone, Default)]
pub struct Plot {
    pub prepare: Vec<Step>,
    pub upgrade: Vec<Step>,
    pub rollback: Vec<Step>,
    pub verify: Vec<Step>,
}

#[derive(Clone, Debug)]
pub struct Step {
    pub name: String,
    pub attempts: u32,
    /// Steps that stand before it in the list; `None`: the one just before it.
    pub after: Option<Vec<usize>>,
    pub acts: Vec<Act>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Act {
    Tool(&'static str),
    Service(&'static str),
    Get(String),
    Set(String),
    Sleep,
    Now,
    /// In its first attempts; `forward`: only while nothing was rolled back.
    Fail {
        kind: FailureKind,
        times: u32,
        forward: bool,
    },
}

/// The tools that there are. `again` may run twice, the others must not; of `checked` the site can tell whether it has run,
/// `unsure` has run and cannot say so, and `broken` never runs.
pub const TOOLS: [&str; 5] = ["once", "again", "checked", "unsure", "broken"];

/// One operation of an attempt, as the journal must have it.
#[derive(Clone, Debug, PartialEq)]
pub struct Asked {
    pub operation: String,
    pub label: String,
}

/// As short as a person would write it.
impl fmt::Debug for Plot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.settings()).finish()
    }
}

impl Plot {
    pub fn steps(&self, phase: Phase) -> &[Step] {
        match phase {
            Phase::Prepare => &self.prepare,
            Phase::Upgrade => &self.upgrade,
            Phase::Rollback => &self.rollback,
            Phase::Verify => &self.verify,
        }
    }

    /// As the guest reads it.
    pub fn settings(&self) -> Vec<(&'static str, String)> {
        let phases = [Phase::Prepare, Phase::Upgrade, Phase::Rollback, Phase::Verify];
        phases.map(|phase| (phase.as_str(), text(self.steps(phase)))).into()
    }
}

pub fn text(steps: &[Step]) -> String {
    let mut text = String::new();
    for step in steps {
        let after = match &step.after {
            None => "^".to_owned(),
            Some(after) if after.is_empty() => "-".to_owned(),
            Some(after) => after.iter().map(|at| steps[*at].name.as_str()).collect::<Vec<_>>().join(","),
        };
        write!(text, "{} {} {after}", step.name, step.attempts).unwrap();
        for act in &step.acts {
            match act {
                Act::Tool(label) => write!(text, " tool:{label}"),
                Act::Service(what) => write!(text, " {what}:shop"),
                Act::Get(key) => write!(text, " get:{key}"),
                Act::Set(key) => write!(text, " set:{key}"),
                Act::Sleep => write!(text, " sleep:0"),
                Act::Now => write!(text, " now"),
                Act::Fail { kind, times, forward } => {
                    let word = if *forward { "fail-forward" } else { "fail" };
                    write!(text, " {word}:{}:{times}", kind.as_str())
                }
            }
            .unwrap();
        }
        text.push(';');
    }
    text
}

impl Step {
    /// The names of the steps that come first.
    pub fn first<'p>(&self, at: usize, steps: &'p [Step]) -> Vec<&'p str> {
        match &self.after {
            None => at.checked_sub(1).map(|before| steps[before].name.as_str()).into_iter().collect(),
            Some(after) => after.iter().map(|at| steps[*at].name.as_str()).collect(),
        }
    }

    /// All that an attempt asks for, and how it ends.
    pub fn attempt(&self, attempt: u32, rolled_back: bool) -> (Vec<Asked>, Result<(), FailureKind>) {
        let asks = |operation: &str, label: &str| Asked { operation: operation.to_owned(), label: label.to_owned() };
        let mut asked = vec![asks("context.setting", "")];
        for act in &self.acts {
            match act {
                Act::Tool(label) => asked.push(asks("tool.run", label)),
                Act::Service("status") => asked.push(asks("service.get-status", "shop")),
                Act::Service(what) => asked.push(asks(&format!("service.{what}"), "shop")),
                Act::Get(_) => asked.push(asks("store.get", "")),
                Act::Set(_) => asked.push(asks("store.set", "")),
                Act::Sleep => asked.push(asks("clock.sleep", "")),
                Act::Now => asked.push(asks("clock.now", "")),
                Act::Fail { .. } => asked.push(asks("context.current", "")),
            }
            match act {
                Act::Tool("broken") => return (asked, Err(FailureKind::Unavailable)),
                Act::Fail { kind, times, forward } if attempt <= *times && !(*forward && rolled_back) => {
                    return (asked, Err(*kind));
                }
                _ => {}
            }
        }
        (asked, Ok(()))
    }
}

fn act(phase: Phase) -> impl Strategy<Value = Act> {
    let key = || select(vec!["a", "b", "c", "d", "e", "f"]).prop_map(str::to_owned);
    let service = select(vec!["start", "stop", "restart", "status"]);
    // In the phases that must come to an end, what fails does so a few times.
    let ends = !matches!(phase, Phase::Upgrade | Phase::Verify);
    let kinds = vec![FailureKind::Unavailable, FailureKind::TimedOut, FailureKind::Conflict, FailureKind::Failed];
    let fail = (select(kinds), 1..=2u32, any::<bool>(), 0..4u32).prop_map(move |(kind, times, forward, for_ever)| {
        let times = if for_ever == 0 && !ends { 99 } else { times };
        Act::Fail { kind, times, forward: forward && phase == Phase::Verify || times == 99 }
    });
    prop_oneof![
        5 => Just(Act::Tool("once")),
        3 => Just(Act::Tool("again")),
        2 => Just(Act::Tool("checked")),
        1 => Just(Act::Tool("unsure")),
        1 => Just(Act::Tool("broken")),
        3 => service.prop_map(Act::Service),
        4 => key().prop_map(Act::Get),
        // Each step writes a key of its own, so that who comes after it knows what it must find.
        4 => Just(Act::Set(String::new())),
        1 => Just(Act::Sleep),
        2 => Just(Act::Now),
        2 => fail,
    ]
}

/// Attempts, steps that come first, and what it does.
type Draft = (u32, Option<Vec<Index>>, Vec<Act>);

fn steps(phase: Phase, most: usize) -> impl Strategy<Value = Vec<Step>> {
    let after = prop::option::weighted(0.7, prop::collection::vec(any::<Index>(), 0..3));
    let attempts = prop_oneof![4 => Just(1u32), 2 => Just(2u32), 1 => Just(3u32)];
    let step = (attempts, after, prop::collection::vec(act(phase), 1..6));
    let least = usize::from(phase == Phase::Rollback);
    prop::collection::vec(step, least..=most).prop_map(|drafts| {
        let drafts = drafts.into_iter().enumerate();
        let step = |(at, (attempts, after, mut acts)): (usize, Draft)| {
            let name = ["a", "b", "c", "d", "e", "f"][at].to_owned();
            for act in &mut acts {
                if let Act::Set(key) = act {
                    key.clone_from(&name);
                }
            }
            let earlier = |after: Vec<Index>| {
                let mut after: Vec<usize> =
                    after.into_iter().filter(|_| at > 0).map(|index| index.index(at.max(1))).collect();
                after.sort_unstable();
                after.dedup();
                after
            };
            Step { name, attempts, after: after.map(earlier), acts }
        };
        drafts.map(step).collect()
    })
}

pub fn plot() -> impl Strategy<Value = Plot> {
    let phases =
        (steps(Phase::Prepare, 2), steps(Phase::Upgrade, 6), steps(Phase::Rollback, 4), steps(Phase::Verify, 4));
    phases.prop_map(|(prepare, upgrade, rollback, verify)| Plot { prepare, upgrade, rollback, verify })
}
