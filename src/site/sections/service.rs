//! `[service.NAME]`
use super::{LINE, Reading, Surroundings};
use crate::{
    diagnostic::{
        Mistake,
        reader::{At, Item, Table},
        shown,
    },
    resource::{ResourceId, service},
    site::path,
};
use std::{
    path::{Component, Path, PathBuf},
    time::Duration,
};

impl Reading<'_> {
    pub(super) fn service(&self, table: Table<'_>) -> Option<service::Section> {
        let drivers = [("process", "process"), ("command", "command"), ("systemd", "systemd"), ("docker", "docker")];
        // Where it is not said, the rest can be read all the same; where it is none, the keys mean nothing.
        let driver = match table.required("driver", "\"process\"") {
            Some(item) => Some(item.word(&drivers)?),
            None => None,
        };
        let read = match driver {
            Some("command") => self.commanded(&table).map(|command| service::Driver::Command(Box::new(command))),
            Some("systemd") => self.systemd(&table).map(service::Driver::Systemd),
            Some("docker") => self.container(&table).map(service::Driver::Docker),
            _ => self.process(&table).map(service::Driver::Process),
        };
        let uses = self.uses(&table);
        table.finish();
        driver?;
        Some(service::Section { driver: read?, uses })
    }

    /// A unit that systemd keeps.
    fn systemd(&self, table: &Table<'_>) -> Option<service::Systemd> {
        // As long as systemd itself waits unless a unit says otherwise, and a little.
        const USUAL: Duration = Duration::from_secs(100);
        let named = table.required("unit", "\"….service\"").and_then(|item| unit(&item));
        let managers = [("system", service::Manager::System), ("user", service::Manager::User)];
        let manager = table.get("manager").map_or(Some(service::Manager::System), |item| item.word(&managers));
        let place = |key| table.get(key).and_then(|item| item.text()).map(|at| path::absolute(self.dir, &at.value));
        let (bus, log, journal) = (place("bus"), place("log"), place("journal"));
        if log.is_some() && journal.is_some() {
            let mistake = Mistake::new("`log` and `journal` say two places for what it writes").at(&table.location());
            table.mistake(mistake.hint("`log` is a file that the service writes by itself; leave one of them out"));
        }
        let within = |key| table.duration(key).unwrap_or(USUAL);
        let (start_within, stop_within) = (within("start-within"), within("stop-within"));
        let settle = table.duration("settle").unwrap_or(Duration::from_secs(1));
        Some(service::Systemd { unit: named?, manager: manager?, bus, start_within, stop_within, settle, log, journal })
    }

    /// A process that Backout supervises.
    fn process(&self, table: &Table<'_>) -> Option<service::Process> {
        let command = self.command(table);
        let reload = table.get("reload").and_then(|item| signal(&item));
        let settle = table.duration("settle").unwrap_or(Duration::from_secs(1));
        let stop_within = table.duration("stop-within").unwrap_or(Duration::from_secs(10));
        let log = table.table("log");
        let (log_bytes, log_keep) = match &log {
            Some(log) => (log.bytes("bytes"), log.integer("keep", 0..=1000)),
            None => (None, None),
        };
        if let Some(log) = log {
            log.finish();
        }
        let command = command?;
        let Surroundings { dir, env, user } = command.surroundings;
        Some(service::Process {
            run: command.run,
            dir,
            env,
            user,
            settle,
            stop_within,
            reload,
            log_bytes: log_bytes.unwrap_or(10 << 20),
            log_keep: log_keep.and_then(|n| u32::try_from(n).ok()).unwrap_or(5),
        })
    }
}

impl Reading<'_> {
    /// One that somebody else keeps.
    fn commanded(&self, table: &Table<'_>) -> Option<service::Command> {
        let must = |key| table.required(key, LINE).and_then(|item| self.words(&item));
        let may = |key| table.get(key).map(|item| self.words(&item));
        let (status, start, stop) = (must("status"), must("start"), must("stop"));
        let (restart, reload, processes) = (may("restart"), may("reload"), may("processes"));
        let Surroundings { dir, env, user } = self.surroundings(table);
        let seconds = |key, usual| table.duration(key).unwrap_or(Duration::from_secs(usual));
        let file = |key| Some(path::absolute(self.dir, &table.get(key)?.text()?.value));
        let (log, pid_file) = (file("log"), file("pid-file"));
        if processes.is_some() && pid_file.is_some() {
            let mistake = Mistake::new("`pid-file` and `processes` both say which processes are its own");
            table.mistake(mistake.at(&table.location()).hint("leave one out"));
        }
        Some(service::Command {
            start_within: seconds("start-within", 60),
            stop_within: seconds("stop-within", 60),
            status_within: seconds("status-within", 10),
            settle: seconds("settle", 1),
            codes: table.table("codes").map(codes).unwrap_or_default(),
            status: status?,
            start: start?,
            stop: stop?,
            restart: restart.map_or(Some(None), |line| line.map(Some))?,
            reload: reload.map_or(Some(None), |line| line.map(Some))?,
            processes: processes.map_or(Some(None), |line| line.map(Some))?,
            dir,
            env,
            user,
            log,
            pid_file,
        })
    }
}

impl Reading<'_> {
    fn container(&self, table: &Table<'_>) -> Option<service::Container> {
        let container = table.required("container", "\"…\"").and_then(|item| {
            let name = item.text()?.value;
            let fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
            if !name.starts_with(|c: char| c.is_ascii_alphanumeric()) || !name.chars().all(fine) {
                item.mistake(Mistake::new(format!("`{}` is no name of a container", item.name)));
                return None;
            }
            Some(name)
        });
        let image = table.get("image").map(|item| self.image(&item));
        let socket = table.get("socket").and_then(|item| item.text());
        let socket = socket.map_or_else(|| "/var/run/docker.sock".into(), |at| path::absolute(self.dir, &at.value));
        let seconds = |key, usual| table.duration(key).unwrap_or(Duration::from_secs(usual));
        Some(service::Container {
            socket,
            image: image.map_or(Some(None), |image| image.map(Some))?,
            healthy: table.boolean("healthy").unwrap_or(false),
            start_within: seconds("start-within", 60),
            stop_within: seconds("stop-within", 10),
            settle: seconds("settle", 1),
            reload: table.get("reload").and_then(|item| signal(&item)),
            container: container?,
        })
    }
}

impl Reading<'_> {
    /// A digest, or `{ file = "TREE:PATH" }`.
    fn image(&self, item: &Item<'_>) -> Option<service::Image> {
        if !item.is_table() {
            let At { value, .. } = item.text()?;
            if service::Image::is_digest(&value) {
                return Some(service::Image::Fixed(value));
            }
            let mistake = Mistake::new(format!("`{}` names no image by its digest", shown(&value)));
            let hint =
                "write `NAME@sha256:…`, its id `sha256:…`, or `{ file = \"TREE:PATH\" }` for what each release names";
            item.mistake(mistake.hint(hint));
            return None;
        }
        let table = item.table()?;
        let file = table.required("file", "\"tree:current/image\"").and_then(|item| item.text());
        table.finish();
        let At { value, location } = file?;
        let plain = |path: &Path| path.components().all(|part| matches!(part, Component::Normal(_)));
        let Some((tree, file)) = value.split_once(':').filter(|(_, file)| !file.is_empty() && plain(Path::new(file)))
        else {
            let mistake = Mistake::new(format!("`{}` names no file in a tree", shown(&value)));
            item.mistake_at(mistake.hint("write `TREE:PATH`, as in `shop-app:current/image`"), &location);
            return None;
        };
        if !self.locations.contains_key(&ResourceId::new("tree", tree)) {
            let mistake = Mistake::new(format!("there is no tree `{}`", shown(tree)));
            let known = self.locations.keys().filter(|id| id.kind == "tree").map(|id| id.name.as_str());
            item.mistake_at(mistake.known(tree, known), &location);
        }
        // Where the tree is, is known when all sections have been read.
        Some(service::Image::Release { tree: tree.to_owned(), root: PathBuf::new(), file: file.into() })
    }
}

/// What is not said is as the standard for init scripts has it, unless another word has taken its number.
fn codes(table: Table<'_>) -> service::Codes {
    let usual = service::Codes::default();
    let given = ["running", "stopped", "failed", "starting"].map(|key| {
        let item = table.get(key)?;
        let codes = item.array()?.into_iter().filter_map(|code| i32::try_from(code.integer(0..=255)?).ok());
        Some((item.location(), codes.collect::<Vec<i32>>()))
    });
    let mut seen: Vec<i32> = Vec::new();
    for (location, codes) in given.iter().flatten() {
        if let Some(twice) = codes.iter().find(|code| seen.contains(code)) {
            table.mistake(Mistake::new(format!("exit code {twice} has two meanings")).at(location));
        }
        seen.extend(codes);
    }
    table.finish();
    let [running, stopped, failed, starting] = given.map(|given| given.map(|(_, codes)| codes));
    let or = |given: Option<Vec<i32>>, usual: Vec<i32>| {
        given.unwrap_or_else(|| usual.into_iter().filter(|code| !seen.contains(code)).collect())
    };
    service::Codes {
        running: or(running, usual.running),
        stopped: or(stopped, usual.stopped),
        failed: or(failed, usual.failed),
        starting: or(starting, usual.starting),
    }
}

/// What a name of a unit may be made of; what is not in it, systemd would read as a pattern or another unit.
fn unit(item: &Item<'_>) -> Option<String> {
    let At { value, .. } = item.text()?;
    let good = |c: char| c.is_ascii_alphanumeric() || ":-_.\\@".contains(c);
    let stem = value.strip_suffix(".service").unwrap_or_default();
    if stem.is_empty() || value.len() > 255 || !value.chars().all(good) {
        let mistake = Mistake::new(format!("`{}` is no service of systemd", shown(&value)));
        item.mistake(mistake.hint("write its whole name, as in `shop.service`"));
        return None;
    }
    if stem.ends_with('@') {
        let mistake = Mistake::new(format!("`{}` is a template", shown(&value)));
        item.mistake(mistake.hint(format!("name one that is made from it, as in `{stem}1.service`")));
        return None;
    }
    Some(value)
}

/// The name of a signal that a service may be sent.
fn signal(item: &Item<'_>) -> Option<String> {
    const SIGNALS: &[&str] = &["HUP", "USR1", "USR2", "INT", "QUIT", "WINCH"];
    let words: Vec<(&str, &str)> = SIGNALS.iter().map(|word| (*word, *word)).collect();
    item.word(&words).map(str::to_owned)
}
