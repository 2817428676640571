//! What runs on this host beside the folder of the product, for a first site file. Files and `/proc` are read; nobody is connected to.
use crate::resource::process::User;
use procfs::{
    net::{TcpState, UnixState},
    process::{FDTarget, Process},
};
use serde::Deserialize;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    io::Read,
    net::SocketAddr,
    path::{Path, PathBuf},
};

#[derive(Debug, Default)]
pub struct Around {
    /// Addresses of PostgreSQL servers, without the name of a database.
    pub postgres: BTreeSet<String>,
    /// Sockets of MariaDB servers.
    pub mariadb: BTreeSet<String>,
    /// Units of systemd that run something out of the folder; and whether a user's manager has it.
    pub units: BTreeMap<String, bool>,
    /// Containers of Docker that run, or that see the folder; and where their daemon is, if it is not where it usually is.
    pub containers: BTreeMap<String, Option<String>>,
    /// Addresses.
    pub prometheus: BTreeSet<String>,
    pub alertmanagers: BTreeSet<String>,
    /// Somebody takes mail on this machine.
    pub mail: bool,
}

/// More would fill the file with what is not the product's.
const MOST: usize = 20;
const MAX_FILE: u64 = 256 << 10;

/// What can be seen; what this user may not see is left out.
pub fn look(dir: &Path) -> Around {
    let mut around = Around::default();
    let mut docker: BTreeMap<PathBuf, Option<String>> = BTreeMap::from([(PathBuf::from("/var/lib/docker"), None)]);
    let mut sockets: BTreeMap<u64, PathBuf> = BTreeMap::new();
    for socket in procfs::net::unix().into_iter().flatten() {
        // A server waits for others.
        let Some(path) = socket.path.filter(|_| socket.state == UnixState::UNCONNECTED) else { continue };
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if let (Some(port), Some(folder)) = (name.strip_prefix(".s.PGSQL."), path.parent()) {
            let folder = folder.to_string_lossy().replace('%', "%25").replace('/', "%2F");
            if folder.starts_with("%2F") && port.parse::<u16>().is_ok() && plain(&folder) {
                around.postgres.insert(format!("{folder}:{port}"));
            }
        } else {
            if matches!(&*name, "mysqld.sock" | "mysql.sock" | "mariadb.sock") {
                around.mariadb.extend(sayable(&path));
            }
            sockets.insert(socket.inode, path);
        }
    }
    let mut ports: BTreeMap<u64, SocketAddr> = BTreeMap::new();
    let tables = [procfs::net::tcp(), procfs::net::tcp6()];
    for entry in tables.into_iter().flatten().flatten().filter(|entry| entry.state == TcpState::Listen) {
        around.mail |= entry.local_address.port() == 25;
        ports.insert(entry.inode, entry.local_address);
    }
    for process in procfs::process::all_processes().into_iter().flatten().flatten() {
        let Some(program) = process.exe().ok() else { continue };
        let name = program.file_name().unwrap_or_default().to_string_lossy().into_owned();
        match name.as_str() {
            "mariadbd" | "mysqld" => {
                let own = process.fd().into_iter().flatten().flatten().filter_map(|fd| match fd.target {
                    FDTarget::Socket(inode) => sayable(sockets.get(&inode)?),
                    _ => None,
                });
                around.mariadb.extend(own);
            }
            "prometheus" => around.prometheus.extend(listens(&process, &ports).map(|at| format!("http://{at}"))),
            "alertmanager" | "prometheus-alertmanager" => {
                around.alertmanagers.extend(listens(&process, &ports).map(|at| format!("http://{at}")));
            }
            "dockerd" => {
                let said = said(&process);
                docker.entry(said.0.unwrap_or_else(|| "/var/lib/docker".into())).or_insert(said.1);
            }
            _ => {}
        }
    }
    around.units = units(dir);
    for (root, socket) in docker {
        around.containers.extend(containers(&root, dir).into_iter().map(|name| (name, socket.clone())));
    }
    around
}

/// Where a process accepts connections: its lowest port, because others may be for its own kind.
fn listens<'p>(process: &Process, ports: &'p BTreeMap<u64, SocketAddr>) -> impl Iterator<Item = String> + use<'p> {
    let sockets = process.fd().into_iter().flatten().flatten().filter_map(|fd| match fd.target {
        FDTarget::Socket(inode) => ports.get(&inode),
        _ => None,
    });
    let lowest = sockets.min_by_key(|address| address.port());
    lowest.into_iter().map(|address| match address.ip() {
        ip if ip.is_unspecified() || ip.is_loopback() => format!("localhost:{}", address.port()),
        _ => address.to_string(),
    })
}

/// Of a daemon of Docker: where its data are, and its socket, where its command line says so.
fn said(process: &Process) -> (Option<PathBuf>, Option<String>) {
    let words = process.cmdline().unwrap_or_default();
    let value = |names: &[&str]| {
        words.iter().enumerate().find_map(|(at, word)| match word.split_once('=') {
            Some((name, value)) if names.contains(&name) => Some(value.to_owned()),
            _ if names.contains(&word.as_str()) => words.get(at + 1).cloned(),
            _ => None,
        })
    };
    let socket = value(&["-H", "--host"]).and_then(|host| Some(host.strip_prefix("unix://")?.to_owned()));
    (value(&["--data-root"]).map(PathBuf::from), socket.filter(|socket| plain(socket)))
}

/// A path that an address can hold as it is.
fn sayable(path: &Path) -> Option<String> {
    let text = path.to_str().filter(|text| text.starts_with('/') && plain(text))?;
    let fine = |c: char| c.is_ascii_alphanumeric() || "/-_.".contains(c);
    text.chars().all(fine).then(|| text.to_owned())
}

/// Nothing that would be something else in the file.
fn plain(text: &str) -> bool {
    text.len() <= 256 && !text.contains(|c: char| c.is_control() || c == '\'' || c == '"' || c == '\\')
}

/// Unit files that run something out of the folder, or in it.
fn units(dir: &Path) -> BTreeMap<String, bool> {
    let system =
        ["/etc/systemd/system", "/run/systemd/system", "/usr/local/lib/systemd/system", "/usr/lib/systemd/system"];
    let user = User::own().map(|user| user.home.join(".config/systemd/user")).ok();
    let folders = system.into_iter().map(|folder| (PathBuf::from(folder), false)).chain(user.map(|home| (home, true)));
    let mut found = BTreeMap::new();
    for (folder, users) in folders {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        for entry in entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_file())) {
            let name = entry.file_name().to_string_lossy().into_owned();
            let is_service = name.ends_with(".service") && !name.ends_with("@.service") && plain(&name);
            if found.len() < MOST && is_service && read(&entry.path()).is_some_and(|text| runs(&text, dir)) {
                found.entry(name).or_insert(users);
            }
        }
    }
    found
}

fn runs(unit: &str, dir: &Path) -> bool {
    let lines = unit.lines().filter_map(|line| line.split_once('='));
    let mut lines = lines.filter(|(key, _)| matches!(key.trim(), "ExecStart" | "WorkingDirectory"));
    let word = |word: &str| Path::new(word.trim_start_matches(['-', '@', ':', '+', '!', '"', '\''])).starts_with(dir);
    lines.any(|(_, value)| value.split_whitespace().any(word))
}

fn read(path: &Path) -> Option<String> {
    let mut text = String::new();
    File::open(path).ok()?.take(MAX_FILE).read_to_string(&mut text).ok()?;
    Some(text)
}

/// As a daemon writes them down for itself; what is not understood is left out.
fn containers(root: &Path, dir: &Path) -> Vec<String> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Container {
        name: String,
        #[serde(default)]
        state: State,
        #[serde(default)]
        mount_points: BTreeMap<String, Mount>,
    }
    #[derive(Default, Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct State {
        #[serde(default)]
        running: bool,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Mount {
        #[serde(default)]
        source: PathBuf,
    }
    let entries = fs::read_dir(root.join("containers")).into_iter().flatten().flatten();
    let containers = entries.filter_map(|entry| {
        let text = read(&entry.path().join("config.v2.json"))?;
        let container: Container = serde_json::from_str(&text).ok()?;
        let sees = container.mount_points.values().any(|mount| mount.source.starts_with(dir));
        let name = container.name.trim_start_matches('/').to_owned();
        ((container.state.running || sees) && !name.is_empty() && plain(&name)).then_some(name)
    });
    let mut names: Vec<String> = containers.collect();
    names.sort_unstable();
    names.truncate(MOST);
    names
}
