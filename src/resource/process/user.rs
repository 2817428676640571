use crate::resource::Failure;
use serde::{Deserialize, Serialize};
use std::{fs, path::PathBuf};

/// An account of this machine, as `/etc/passwd` and `/etc/group` know it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    pub name: String,
    pub uid: u32,
    pub gid: u32,
    pub groups: Vec<u32>,
    pub home: PathBuf,
}

impl User {
    pub fn named(name: &str) -> Result<Self, Failure> {
        let (passwd, group) = databases()?;
        Self::find(&passwd, &group, |user| user.name == name)
            .ok_or_else(|| Failure::invalid(format!("there is no user `{name}` in /etc/passwd")))
    }

    /// Who Backout runs as.
    pub fn own() -> Result<Self, Failure> {
        let (passwd, group) = databases()?;
        let uid = rustix::process::geteuid().as_raw();
        // A container may run as an id that has no name.
        let nameless = || Self {
            name: uid.to_string(),
            uid,
            gid: rustix::process::getegid().as_raw(),
            groups: Vec::new(),
            home: PathBuf::from("/"),
        };
        Ok(Self::find(&passwd, &group, |user| user.uid == uid).unwrap_or_else(nameless))
    }

    /// The account with this number, by its name; the number where it has none.
    pub fn name_of(uid: u32) -> String {
        let found = databases().ok().and_then(|(passwd, group)| Self::find(&passwd, &group, |user| user.uid == uid));
        found.map_or_else(|| uid.to_string(), |user| user.name)
    }

    fn find(passwd: &str, group: &str, is: impl Fn(&Self) -> bool) -> Option<Self> {
        let mut user = passwd.lines().find_map(|line| {
            let mut fields = line.split(':');
            let (name, _, uid, gid) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
            let (_, home) = (fields.next()?, fields.next()?);
            let user = Self {
                name: name.to_owned(),
                uid: uid.parse().ok()?,
                gid: gid.parse().ok()?,
                groups: Vec::new(),
                home: PathBuf::from(home),
            };
            is(&user).then_some(user)
        })?;
        user.groups.push(user.gid);
        for line in group.lines() {
            let fields: Vec<&str> = line.split(':').collect();
            if let [_, _, gid, members] = fields[..]
                && members.split(',').any(|member| member == user.name)
                && let Ok(gid) = gid.parse()
                && !user.groups.contains(&gid)
            {
                user.groups.push(gid);
            }
        }
        Some(user)
    }
}

fn databases() -> Result<(String, String), Failure> {
    let read = |path| match fs::read(path) {
        Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(String::new()),
        Err(e) => Err(Failure::failed(format!("the users of this machine cannot be read: {e}"))),
    };
    Ok((read("/etc/passwd")?, read("/etc/group")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str =
        "root:x:0:0:root:/root:/bin/bash\n# odd\nbroken\nshop:x:1001:1002:The shop,,,:/srv/shop:/bin/sh\n";
    const GROUP: &str = "root:x:0:\nssl-cert:x:110:postgres,shop\nshop:x:1002:\nshoppers:x:111:shopper\n";

    #[test]
    fn a_user_comes_with_its_groups() {
        let shop = User::find(PASSWD, GROUP, |u| u.name == "shop").unwrap();
        assert_eq!(
            (shop.uid, shop.gid, shop.groups, shop.home),
            (1001, 1002, vec![1002, 110], PathBuf::from("/srv/shop"))
        );
        assert!(User::find(PASSWD, GROUP, |u| u.name == "broken").is_none());
    }
}
