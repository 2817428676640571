//! A phase's steps as the script gives them, made into a graph that can be run. Everything wrong is said at once.
use crate::{journal, session};
use std::collections::{BTreeMap, BTreeSet};

const MAX_TITLE: usize = 200;
/// Beyond these nobody reads on.
const MAX_MISTAKES: usize = 20;
const MAX_ATTEMPTS: u32 = 10;
const MAX_ESTIMATE: u32 = 7 * 24 * 3600;

/// Steps with `after` resolved: none means the step before it in the list.
pub fn resolve(steps: Vec<session::Step>, limit: usize) -> Result<Vec<journal::Step>, Vec<String>> {
    if steps.len() > limit {
        return Err(vec![format!("{} steps, the limit is {limit}", steps.len())]);
    }
    let mut mistakes = Vec::new();
    let names: BTreeSet<&str> = steps.iter().map(|s| s.name.as_str()).collect();
    let mut seen = BTreeSet::new();
    let mut resolved: Vec<journal::Step> = Vec::new();
    for step in &steps {
        let mut wrong = |what: String| mistakes.push(format!("step `{}`: {what}", brief(&step.name)));
        if !well_named(&step.name) {
            wrong("a name has 1 to 64 lower-case letters, digits, `-` and `_`".into());
        } else if !seen.insert(step.name.as_str()) {
            wrong("the name stands twice".into());
        }
        if step.title.len() > MAX_TITLE {
            wrong(format!("the title has more than {MAX_TITLE} bytes"));
        }
        if step.attempts == 0 || step.attempts > MAX_ATTEMPTS {
            wrong(format!("{} attempts, must be 1 to {MAX_ATTEMPTS}", step.attempts));
        }
        if step.estimate > MAX_ESTIMATE {
            wrong("an estimate of more than a week".into());
        }
        if step.roles.len() > 16 || step.roles.iter().any(|role| role.is_empty() || role.len() > 64) {
            wrong("at most 16 roles of 1 to 64 bytes".into());
        }
        let before = resolved.last().map(|s| s.name.clone());
        let after = step.after.clone().unwrap_or_else(|| before.into_iter().collect());
        for other in after.iter().filter(|other| !names.contains(other.as_str())) {
            wrong(format!("comes after `{}`, which is no step of this phase", brief(other)));
        }
        resolved.push(journal::Step {
            name: step.name.clone(),
            title: step.title.clone(),
            estimate_seconds: step.estimate.into(),
            measured_runs: 0,
            roles: step.roles.clone(),
            after,
            attempts: step.attempts,
        });
    }
    if mistakes.is_empty()
        && let Some(cycle) = cycle(&resolved)
    {
        mistakes.push(format!("the steps wait for each other: {}", cycle.join(" → ")));
    }
    if mistakes.is_empty() {
        return Ok(resolved);
    }
    let more = mistakes.len().saturating_sub(MAX_MISTAKES);
    if more > 0 {
        mistakes.truncate(MAX_MISTAKES);
        mistakes.push(format!("and {more} more"));
    }
    Err(mistakes)
}

/// A name as the script gives it, which need not be one.
fn brief(name: &str) -> String {
    let end = name.char_indices().nth(64).map_or(name.len(), |(end, _)| end);
    name[..end].escape_default().collect()
}

fn well_named(name: &str) -> bool {
    (1..=64).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_')
}

/// Takes away whatever waits for nothing until nothing is left; what stays is on a cycle or behind one.
fn cycle(steps: &[journal::Step]) -> Option<Vec<String>> {
    let mut waiting: BTreeMap<&str, BTreeSet<&str>> =
        steps.iter().map(|s| (s.name.as_str(), s.after.iter().map(String::as_str).collect())).collect();
    loop {
        let free: Vec<&str> = waiting.iter().filter(|(_, after)| after.is_empty()).map(|(name, _)| *name).collect();
        if free.is_empty() {
            break;
        }
        for name in free {
            waiting.remove(name);
            waiting.values_mut().for_each(|after| {
                after.remove(name);
            });
        }
    }
    let mut path: Vec<&str> = vec![waiting.keys().next()?];
    loop {
        let next = waiting.get(path.last()?)?.iter().next()?;
        if let Some(start) = path.iter().position(|name| name == next) {
            path.push(next);
            return Some(path[start..].iter().map(ToString::to_string).collect());
        }
        path.push(next);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(name: &str, after: Option<&[&str]>) -> session::Step {
        session::Step {
            name: name.into(),
            title: String::new(),
            estimate: 1,
            roles: vec![],
            after: after.map(|a| a.iter().map(ToString::to_string).collect()),
            attempts: 1,
        }
    }

    #[test]
    fn a_step_follows_the_one_before_unless_it_says_otherwise() {
        let steps = resolve(vec![step("a", None), step("b", None), step("c", Some(&[]))], 10).unwrap_or_default();
        let after: Vec<_> = steps.iter().map(|s| s.after.clone()).collect();
        assert_eq!(after, [vec![], vec!["a".to_owned()], vec![]]);
    }

    #[test]
    fn all_mistakes_are_named() {
        let steps = vec![step("a", Some(&["x"])), step("a", None), step("B c", None)];
        let mistakes = resolve(steps, 10).err().unwrap_or_default();
        assert_eq!(mistakes.len(), 3, "{mistakes:#?}");
    }

    #[test]
    fn a_cycle_is_shown() {
        let steps = vec![step("a", Some(&["c"])), step("b", None), step("c", None), step("d", None)];
        let mistakes = resolve(steps, 10).err().unwrap_or_default();
        assert_eq!(mistakes, ["the steps wait for each other: a → c → b → a"]);
    }

    #[test]
    fn too_many_steps_are_refused() {
        let steps = (0..11).map(|n| step(&format!("s{n}"), None)).collect();
        assert_eq!(resolve(steps, 10).err().unwrap_or_default(), ["11 steps, the limit is 10"]);
    }
}
