//! `approval` of a package's `require`: by whom the plan of an upgrade must have been approved, and whether it was.
use super::{Approver, Site, approver::roles};
use crate::{
    diagnostic::{
        Location, Mistake,
        reader::{At, Item},
        shown,
        units::show_duration,
    },
    package::Package,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// `approval` of a package's `require`.
#[derive(Clone, Debug)]
pub struct Approval {
    /// Each of them by a person of its own.
    pub roles: Vec<At<String>>,
    /// Whoever runs the upgrade does not count.
    pub not_the_runner: bool,
    /// Older ones do not count.
    pub lasts: Option<Duration>,
    pub location: Location,
}

/// An approval whose signature holds.
#[derive(Clone, Debug)]
pub struct Signed {
    pub by: String,
    pub role: String,
    pub key: [u8; 32],
    /// milliseconds since 1970-01-01 UTC
    pub at: i64,
}

/// `"dba"`, `["dba", "owner"]`, `{ roles = ["dba"], not-the-runner = true, for = "7d" }`.
pub(super) fn approval(item: &Item<'_>) -> Option<Approval> {
    if !item.is_table() {
        return Some(Approval { roles: roles(item)?, not_the_runner: false, lasts: None, location: item.location() });
    }
    let table = item.table()?;
    let roles = table.required("roles", "[\"dba\"]").and_then(|item| roles(&item));
    let not_the_runner = table.boolean("not-the-runner").unwrap_or(false);
    let lasts = table.duration("for");
    table.finish();
    Some(Approval { roles: roles?, not_the_runner, lasts, location: item.location() })
}

impl Site {
    /// What nobody on this site could ever approve.
    pub(super) fn unapprovable(&self) -> Vec<Mistake> {
        let mut mistakes = Vec::new();
        // What an approver with a mistake would have had is not known.
        if self.approvers.values().any(|approver| approver.roles.is_empty()) {
            return mistakes;
        }
        let known: BTreeSet<&str> =
            self.approvers.values().flat_map(|approver| approver.roles.iter().map(String::as_str)).collect();
        let mut nameless: BTreeSet<&str> = BTreeSet::new();
        for approval in self.allow.values().filter_map(|allow| allow.require.approval.as_ref()) {
            let unknown = approval.roles.iter().filter(|role| !known.contains(role.value.as_str()));
            let told = mistakes.len();
            mistakes.extend(unknown.map(|role| {
                let mistake = Mistake::new(format!("no approver has the role `{}`", shown(&role.value)));
                let mistake = mistake.at(&role.location).known(&role.value, known.iter().copied());
                match mistake.hint {
                    Some(_) => mistake,
                    None => mistake.hint(format!(
                        "add `[approver.NAME]` with `key = \"keys/NAME.pub\"` and `roles = [\"{}\"]`",
                        shown(&role.value)
                    )),
                }
            }));
            let people: Vec<&BTreeSet<String>> = self.approvers.values().map(|approver| &approver.roles).collect();
            let left = missing(&approval.roles, &people);
            if let Some(role) = left.first().filter(|_| mistakes.len() == told) {
                let message =
                    format!("too few approvers: nobody is left who could approve as `{}`", shown(&role.value));
                mistakes.push(
                    Mistake::new(message).at(&role.location).hint("each role is approved by a person of its own"),
                );
            }
            if approval.not_the_runner {
                let wanted =
                    |a: &&Approver| a.user.is_none() && approval.roles.iter().any(|r| a.roles.contains(&r.value));
                for (name, approver) in self.approvers.iter().filter(|(_, approver)| wanted(approver)) {
                    if nameless.insert(name) {
                        let mistake = Mistake::new(format!(
                            "approver `{name}` has no `user`, so nobody could tell whether it is the one who runs an upgrade"
                        ));
                        let hint = "say as which account this person works here: `user = \"…\"`";
                        mistakes.push(mistake.at(&approver.location).hint(hint));
                    }
                }
            }
        }
        mistakes
    }

    /// What this package must have approved.
    pub fn approval(&self, package: &Package) -> Option<&Approval> {
        self.allows(package)?.require.approval.as_ref()
    }

    /// Which of these approvals count. `Err`: why they do not suffice, and of each one that does not count, why.
    ///
    /// `runner`: the accounts of the one who runs the upgrade; `now`: milliseconds since 1970-01-01 UTC.
    pub fn approved(
        &self,
        package: &Package,
        signed: &[Signed],
        runner: &BTreeSet<u32>,
        now: i64,
    ) -> Result<Vec<Signed>, Vec<Mistake>> {
        let required = self.approval(package);
        let trusted = match (self.trusted(), required) {
            (Ok(trusted), _) => trusted,
            (Err(mistakes), Some(_)) => return Err(mistakes),
            // Nobody asks for them.
            (Err(_), None) => return Ok(Vec::new()),
        };
        let not_the_runner = required.is_some_and(|approval| approval.not_the_runner);
        let lasts = required.and_then(|approval| approval.lasts);
        let (mut counted, mut mistakes) = (Vec::new(), Vec::new());
        for approval in signed {
            let by = shown(&approval.by);
            let not = |why: String| {
                Mistake::new(format!("the approval of `{by}` as `{}` does not count: {why}", shown(&approval.role)))
            };
            let Some(person) = trusted.get(&approval.by) else {
                let mistake = not("the site has no such approver".to_owned());
                mistakes.push(mistake.known(&approval.by, trusted.keys().map(String::as_str)));
                continue;
            };
            if person.key != approval.key {
                mistakes.push(not("it is signed with another key than the one that the site knows".to_owned()));
            } else if !person.roles.contains(&approval.role) {
                let roles: Vec<&str> = person.roles.iter().map(String::as_str).collect();
                mistakes.push(not(format!("on this site `{by}` has the role {}", roles.join(", "))));
            } else if not_the_runner && person.uid.is_some_and(|uid| runner.contains(&uid)) {
                let hint = "let another person run it, or have another one approve it";
                mistakes.push(not("this is who runs the upgrade".to_owned()).hint(hint));
            } else if let Some(lasts) = lasts.filter(|lasts| u128::from(now.abs_diff(approval.at)) > lasts.as_millis())
            {
                let hint = "look at the plan again, and approve it again";
                mistakes.push(not(format!("its time is more than {} away", show_duration(lasts))).hint(hint));
            } else {
                counted.push(approval.clone());
            }
        }
        let Some(required) = required else { return Ok(counted) };
        let mut people: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
        for approval in &counted {
            people.entry(&approval.by).or_default().insert(approval.role.clone());
        }
        let left = missing(&required.roles, &people.values().collect::<Vec<_>>());
        if left.is_empty() {
            return Ok(counted);
        }
        let lacking = left.into_iter().map(|role| {
            let name = shown(&role.value);
            let other = if counted.iter().any(|a| a.role == role.value) { "by another person " } else { "" };
            let mistake = Mistake::new(format!("the plan is not approved {other}as `{name}`")).at(&role.location);
            mistake.hint(format!("have it approved: backout approve PLAN --as NAME --role {name} --key FILE"))
        });
        Err(lacking.chain(mistakes).collect())
    }
}

/// The roles for which nobody is left when everybody stands for one of them.
fn missing<'r>(wanted: &'r [At<String>], people: &[&BTreeSet<String>]) -> Vec<&'r At<String>> {
    /// Finds somebody for a role; who stands for another one may be sent to a third.
    fn place(
        role: usize,
        wanted: &[At<String>],
        people: &[&BTreeSet<String>],
        who: &mut [Option<usize>],
        seen: &mut [bool],
    ) -> bool {
        for (n, roles) in people.iter().enumerate() {
            let (Some(asked), Some(name)) = (seen.get_mut(n), wanted.get(role)) else { return false };
            if *asked || !roles.contains(&name.value) {
                continue;
            }
            *asked = true;
            let free = match who.get(n).copied().flatten() {
                None => true,
                Some(other) => place(other, wanted, people, who, seen),
            };
            if free {
                if let Some(place) = who.get_mut(n) {
                    *place = Some(role);
                }
                return true;
            }
        }
        false
    }
    let mut who = vec![None; people.len()];
    let roles = wanted.iter().enumerate();
    roles
        .filter(|(n, _)| !place(*n, wanted, people, &mut who, &mut vec![false; people.len()]))
        .map(|(_, role)| role)
        .collect()
}
