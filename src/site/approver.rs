//! `[approver.NAME]`: the people whose approval of a plan counts.
use super::{Site, path};
use crate::{
    diagnostic::{
        Location, Mistake,
        reader::{self, At, Item, Table},
        shown,
    },
    key,
    resource::process::User,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

/// A person, as the file names one.
#[derive(Clone, Debug)]
pub struct Approver {
    /// The file with the public key. What is in it is looked at when it matters.
    pub key: At<PathBuf>,
    pub roles: BTreeSet<String>,
    /// The account as which this person works on this host.
    pub user: Option<At<String>>,
    pub location: Location,
}

/// A person whose key has been read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trusted {
    pub key: [u8; 32],
    pub roles: BTreeSet<String>,
    pub uid: Option<u32>,
}

/// More people than ever approve one plan.
const MOST: usize = 16;

pub(super) fn approvers(root: &Table<'_>, dir: &Path) -> BTreeMap<String, Approver> {
    let items = root.named("approver");
    items.iter().filter_map(|item| Some((item.key.clone(), approver(item, dir)?))).collect()
}

fn approver(item: &Item<'_>, dir: &Path) -> Option<Approver> {
    let table = item.table()?;
    let key = table.required("key", "\"keys/anna.pub\"").and_then(|item| item.text());
    let roles = table.required("roles", "[\"dba\"]").and_then(|item| roles(&item));
    let user = table.get("user").and_then(|item| item.text());
    table.finish();
    // A person with a mistake is a person: what names the role is not wrong then.
    let key = key.map_or_else(
        || At { value: PathBuf::new(), location: item.key_location() },
        |At { value, location }| At { value: path::absolute(dir, &value), location },
    );
    let roles = roles.into_iter().flatten().map(|role| role.value).collect();
    Some(Approver { key, roles, user, location: item.key_location() })
}

/// One or more names of roles.
pub(super) fn roles(item: &Item<'_>) -> Option<Vec<At<String>>> {
    let roles = if item.is_string() { vec![item.text()?] } else { item.strings()? };
    let wrong = |message: String, hint: &str| item.mistake(Mistake::new(message).hint(hint));
    if roles.is_empty() {
        wrong(format!("`{}` is empty", item.name), "name a role, as in `\"dba\"`");
        return None;
    }
    if roles.len() > MOST {
        wrong(format!("`{}` has more than {MOST} roles", item.name), "name fewer");
        return None;
    }
    for role in &roles {
        if let Err(why) = reader::name(&role.value) {
            let mistake = Mistake::new(format!("`{}` cannot be the name of a role", shown(&role.value)));
            item.mistake_at(mistake.hint(why), &role.location);
        }
    }
    Some(roles)
}

impl Site {
    /// The approvers with their keys, as these are now.
    pub fn trusted(&self) -> Result<BTreeMap<String, Trusted>, Vec<Mistake>> {
        let mut trusted: BTreeMap<String, Trusted> = BTreeMap::new();
        let mut mistakes = Vec::new();
        for (name, approver) in &self.approvers {
            let read = key::read_public(&approver.key.value).map_err(|why| {
                let file = shown(&approver.key.value.display().to_string());
                let mistake =
                    Mistake::new(format!("the key of approver `{name}`: {file}: {why}")).at(&approver.key.location);
                mistakes.push(mistake.hint("`backout approve` makes keys; the line that it shows belongs here"));
            });
            let uid = approver.user.as_ref().map(|user| {
                User::named(&user.value).map(|user| user.uid).map_err(|_| {
                    let message =
                        format!("the user of approver `{name}`: there is no account `{}`", shown(&user.value));
                    mistakes.push(Mistake::new(message).at(&user.location).hint("name an account of this host"));
                })
            });
            let (Ok(key), Ok(uid)) = (read, uid.transpose()) else { continue };
            // Whoever had two names would count as two.
            let same = |other: &Trusted| other.key == key || uid.is_some() && other.uid == uid;
            if let Some((first, other)) = trusted.iter().find(|(_, other)| same(other)) {
                let what = if other.key == key { "key" } else { "user" };
                let message = format!("approver `{name}` has the same {what} as approver `{first}`");
                mistakes
                    .push(Mistake::new(message).at(&approver.location).hint("keep one of them: a person has one name"));
                continue;
            }
            trusted.insert(name.clone(), Trusted { key, roles: approver.roles.clone(), uid });
        }
        if mistakes.is_empty() { Ok(trusted) } else { Err(mistakes) }
    }
}
