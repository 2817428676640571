//! `[answers]`: where else than on the terminal people answer what a script asks.
use super::{Site, path};
use crate::{
    diagnostic::{Location, Mistake, reader::Table, shown},
    resource::{
        Failure, ResourceId,
        answers::{Answers, Person, Section},
        channel::{self, Driver, Occasion},
        process::User,
    },
};
use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::{Path, PathBuf},
};

/// The section, and where it stands.
pub(super) fn answers(
    root: &Table<'_>,
    dir: &Path,
    channels: &BTreeMap<String, channel::Section>,
    known: &BTreeMap<ResourceId, Location>,
) -> (Section, Option<Location>) {
    let Some(table) = root.table("answers") else { return (Section::default(), None) };
    let folder = table.get("folder").and_then(|item| item.text()).map(|at| path::absolute(dir, &at.value));
    let listen = table.get("listen");
    let channel = table.get("channel").and_then(|item| item.text());
    let address = listen.as_ref().and_then(|item| {
        let text = item.text()?;
        let address = text.value.parse::<SocketAddr>().ok().filter(|address| address.port() != 0);
        if address.is_none() {
            let mistake = Mistake::new(format!("`{}` is no address to listen on", shown(&text.value)));
            item.mistake(mistake.hint("write IP and port, as in `127.0.0.1:8750`"));
        }
        address
    });
    if listen.is_some() && table.get("channel").is_none() {
        let mistake = Mistake::new("`answers` has a `listen`, and no `channel`").at(&table.location());
        table.mistake(mistake.hint("name the webhook with whose secret answers are signed: `channel = \"…\"`"));
    }
    if let Some(at) = &channel {
        let wrong = |message: String, hint: &str| {
            let mistake = Mistake::new(message).at(&at.location);
            table.mistake(if hint.is_empty() { mistake } else { mistake.hint(hint) });
        };
        let name = shown(&at.value);
        match channels.get(&at.value) {
            Some(channel) if !matches!(channel.driver, Driver::Webhook { .. }) => {
                wrong(
                    format!("channel `{name}` is no webhook, so it has no secret"),
                    "name one with `driver = \"webhook\"`",
                );
            }
            Some(channel) if !channel.on.contains(&Occasion::NeedsPeople) => {
                let hint = "add `needs-people` to its `on`";
                wrong(format!("channel `{name}` is not told what people are asked"), hint);
            }
            Some(_) => {}
            None if known.contains_key(&ResourceId::new("channel", &at.value)) => {}
            None => {
                let names = known.keys().filter(|id| id.kind == "channel").map(|id| id.name.as_str());
                let mistake = Mistake::new(format!("there is no channel `{name}`")).at(&at.location);
                table.mistake(mistake.known(&at.value, names));
            }
        }
    }
    let within = table.duration("within");
    if within.is_some_and(|within| within.is_zero()) {
        table.mistake(Mistake::new("`within` is more than nothing").at(&table.location()));
    }
    let location = table.location();
    table.finish();
    let listen = address.zip(channel.map(|at| at.value));
    (Section { folder, listen, within }, Some(location))
}

impl Site {
    /// Where answers are taken; `None` where they are not.
    pub fn answers(&self) -> Result<Option<Answers>, Failure> {
        let secret = self.answering.listen.as_ref().and_then(|(_, name)| match &self.channels.get(name)?.driver {
            Driver::Webhook { secret, .. } => Some(secret.as_str()),
            _ => None,
        });
        let people = self.approvers.iter().map(|(name, approver)| {
            // An account that is not there has no files.
            let uid = approver.user.as_ref().and_then(|user| Some(User::named(&user.value).ok()?.uid));
            (name.clone(), Person { roles: approver.roles.clone(), uid })
        });
        Answers::new(&self.answering, secret, people.collect())
    }

    /// A script may write into trees, and so it could answer itself.
    pub(super) fn answers_by_scripts(&self) -> Vec<Mistake> {
        let (Some(folder), Some(location)) = (&self.answering.folder, &self.answering_location) else {
            return Vec::new();
        };
        let real = path::real(folder);
        let places = self.trees.iter().map(|(name, tree)| (format!("tree `{name}`"), path::place(&tree.path)));
        let places = places.chain([("Backout's state".to_owned(), path::real(&self.state))]);
        let within = |place: &PathBuf| real.starts_with(place) || folder.starts_with(place);
        let holding = places.filter(|(_, place)| within(place));
        let mistake = |(what, _): (String, PathBuf)| {
            let folder = shown(&folder.display().to_string());
            Mistake::new(format!("the folder of answers {folder} lies in {what}")).at(location).hint("keep it outside")
        };
        holding.map(mistake).collect()
    }

    /// Whether answers can be taken there.
    pub(super) fn answers_here(&self) -> Option<Mistake> {
        let (folder, location) = (self.answering.folder.as_ref()?, self.answering_location.as_ref()?);
        let why = crate::resource::answers::usable(folder).err()?;
        let folder = shown(&folder.display().to_string());
        let mistake = Mistake::new(format!("the folder of answers {folder}: {why}")).at(location);
        Some(mistake.hint("a folder that those who answer may write into: their group (`chmod 2770`), or with the sticky bit (`chmod 1777`)"))
    }
}
