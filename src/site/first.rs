//! A first site file, from what lies in a folder and runs out of it.
use super::around::{self, Around};
use crate::{
    diagnostic::{reader, shown},
    resource::ResourceId,
};
use procfs::{net::TcpState, process::FDTarget};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    fs::{self, File},
    io::{self, Read, Write},
    net::SocketAddr,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};
use toml_edit::Value;

/// What was found, and what it is called in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    pub name: String,
    /// relative to the folder
    pub path: PathBuf,
}

/// A program that runs out of the folder and listens.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Listening {
    name: String,
    url: String,
    program: String,
    /// of systemd, that it runs as; and whether a user's manager has it
    unit: Option<(String, bool)>,
}

#[derive(Debug, Default)]
pub struct Found {
    pub databases: Vec<Named>,
    pub trees: Vec<Named>,
    pub probes: Vec<Named>,
    listening: Vec<Listening>,
    /// What is beside the folder, each with a name that the file can have.
    around: Around,
    beside: Vec<Beside>,
    /// The folder holds more than was looked at.
    cut: bool,
}

/// A section that is only proposed: nobody has asked what is there.
#[derive(Debug)]
struct Beside {
    kind: &'static str,
    name: String,
    /// What it is, in a few words.
    what: String,
    keys: Vec<(&'static str, String)>,
}

const MAX_DEPTH: usize = 8;
const MAX_ENTRIES: usize = 200_000;

/// Looks through a folder and at the processes of this host. Follows no link.
pub fn look(dir: &Path) -> io::Result<Found> {
    let dir = dir.canonicalize()?;
    let mut search = Search { top: dir.clone(), left: MAX_ENTRIES, ..Search::default() };
    search.folder(&dir, MAX_DEPTH)?;
    let mut found = Found { cut: search.left == 0, ..Found::default() };
    let mut names = Names::default();
    for path in &search.trees {
        let called = if path.as_os_str().is_empty() { dir.file_name() } else { path.file_name() };
        let name = names.give("tree", called.map(|name| name.to_string_lossy()).as_deref().unwrap_or("app"));
        found.trees.push(Named { name, path: path.clone() });
    }
    for path in &search.databases {
        let name = names.give("database", &path.file_stem().unwrap_or_default().to_string_lossy());
        found.databases.push(Named { name, path: path.clone() });
    }
    for mut listening in listening(&dir) {
        listening.name = names.give("probe", &listening.name);
        found.probes.push(Named { name: listening.name.clone(), path: PathBuf::from(&listening.url) });
        found.listening.push(listening);
    }
    found.around = around::look(&dir);
    found.beside = beside(&found, &mut names);
    Ok(found)
}

/// Sections for what runs on this host, which the folder does not show.
fn beside(found: &Found, names: &mut Names) -> Vec<Beside> {
    let Around { postgres, mariadb, units, containers, .. } = &found.around;
    let mut beside = Vec::new();
    let asked = "nobody has asked it what it has";
    for at in postgres {
        let name = names.give("database", "postgresql");
        let what = format!("a PostgreSQL server runs here; {asked}: name the database");
        let url = format!("postgresql://backout@{at}/NAME");
        beside.push(Beside { kind: "database", name, what, keys: vec![("driver", "postgresql".into()), ("url", url)] });
    }
    for socket in mariadb {
        let name = names.give("database", "mariadb");
        let what = format!("a MariaDB server runs here; {asked}: name the database");
        let url = format!("mysql://backout@localhost/NAME?socket={socket}");
        beside.push(Beside { kind: "database", name, what, keys: vec![("driver", "mariadb".into()), ("url", url)] });
    }
    let listening: BTreeSet<&str> = found.listening.iter().filter_map(|l| Some(l.unit.as_ref()?.0.as_str())).collect();
    for (unit, users) in units.iter().filter(|(unit, _)| !listening.contains(unit.as_str())) {
        let name = names.give("service", unit.trim_end_matches(".service"));
        let mut keys = vec![("driver", "systemd".to_owned()), ("unit", unit.clone())];
        if *users {
            keys.push(("manager", "user".to_owned()));
        }
        beside.push(Beside { kind: "service", name, what: "its unit names this folder".to_owned(), keys });
    }
    for (container, socket) in containers {
        let name = names.give("service", container);
        let mut keys = vec![("driver", "docker".to_owned()), ("container", container.clone())];
        keys.extend(socket.as_ref().map(|socket| ("socket", socket.clone())));
        beside.push(Beside { kind: "service", name, what: "a container of Docker".to_owned(), keys });
    }
    beside
}

#[derive(Default)]
struct Search {
    top: PathBuf,
    left: usize,
    databases: Vec<PathBuf>,
    trees: Vec<PathBuf>,
    /// Folders of versions: what lies in them belongs to the tree.
    versions: BTreeSet<PathBuf>,
}

impl Search {
    fn inner(&self, path: &Path) -> PathBuf {
        path.strip_prefix(&self.top).unwrap_or(path).to_owned()
    }

    fn folder(&mut self, folder: &Path, depth: usize) -> io::Result<()> {
        let mut entries = fs::read_dir(folder)?.collect::<io::Result<Vec<_>>>()?;
        entries.sort_by_key(fs::DirEntry::file_name);
        if let Some(versions) = versions(folder) {
            self.trees.push(self.inner(folder));
            self.versions.insert(versions);
        }
        for entry in entries {
            if self.left == 0 {
                return Ok(());
            }
            self.left -= 1;
            let (path, name) = (entry.path(), entry.file_name());
            let hidden = name.to_string_lossy().starts_with('.');
            let foreign = ["node_modules", "target", "state"].iter().any(|foreign| name == *foreign);
            let Ok(kind) = entry.file_type() else { continue };
            if kind.is_dir() && depth > 0 && !hidden && !foreign && !self.versions.contains(&path) {
                // A folder that may not be read is not the product's.
                let _ = self.folder(&path, depth - 1);
            } else if kind.is_file() && is_sqlite(&path) {
                self.databases.push(self.inner(&path));
            }
        }
        Ok(())
    }
}

/// The folder of the versions, when `current` here is a link to one of them.
fn versions(folder: &Path) -> Option<PathBuf> {
    let link = folder.join("current");
    let target = link.read_link().ok()?;
    let version = folder.join(target);
    let inside = version.canonicalize().is_ok_and(|real| real.starts_with(folder) && real != folder);
    let parent = version.parent()?.to_owned();
    inside.then(|| if parent == folder { version } else { parent })
}

fn is_sqlite(path: &Path) -> bool {
    // Its pages have at least 512 bytes; other files need not be opened.
    let size = path.metadata().map_or(0, |metadata| metadata.len());
    let mut head = Vec::new();
    size > 0
        && size.is_multiple_of(512)
        && File::open(path).and_then(|file| file.take(16).read_to_end(&mut head)).is_ok()
        && head == super::survey::SQLITE
}

/// Programs of this folder that accept connections, as far as /proc may be read.
fn listening(dir: &Path) -> Vec<Listening> {
    let mut ports: BTreeMap<u64, SocketAddr> = BTreeMap::new();
    let tables = [procfs::net::tcp(), procfs::net::tcp6()];
    for entry in tables.into_iter().flatten().flatten().filter(|entry| entry.state == TcpState::Listen) {
        ports.insert(entry.inode, entry.local_address);
    }
    let myself = i32::try_from(std::process::id()).unwrap_or_default();
    let mut found: BTreeMap<u16, Listening> = BTreeMap::new();
    for process in procfs::process::all_processes().into_iter().flatten().flatten().filter(|p| p.pid != myself) {
        let program = process.exe().ok();
        let here = |path: &Option<PathBuf>| path.as_ref().is_some_and(|path| path.starts_with(dir));
        if !here(&program) && !here(&process.cwd().ok()) {
            continue;
        }
        let Some(program) = program else { continue };
        let sockets = process.fd().into_iter().flatten().flatten().filter_map(|fd| match fd.target {
            FDTarget::Socket(inode) => ports.get(&inode),
            _ => None,
        });
        for address in sockets {
            let ip = address.ip();
            let host = if ip.is_unspecified() || ip.is_loopback() {
                "localhost".to_owned()
            } else {
                SocketAddr::new(ip, 0).to_string().trim_end_matches(":0").to_owned()
            };
            // An interpreter from elsewhere says nothing about the product.
            let named = if program.starts_with(dir) { program.as_path() } else { dir };
            let name = named.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let url = format!("http://{host}:{}", address.port());
            let program = shown(&program.display().to_string());
            let unit = unit(&process);
            found.entry(address.port()).or_insert(Listening { name, url, program, unit });
        }
    }
    found.into_values().collect()
}

/// By its control group, which systemd names after the unit.
fn unit(process: &procfs::process::Process) -> Option<(String, bool)> {
    let groups = process.cgroups().ok()?;
    groups.into_iter().find_map(|group| {
        let (above, unit) = group.pathname.rsplit_once('/')?;
        let whose = above.contains("/user@") && above.contains(".service");
        let named = unit.ends_with(".service") && !unit.starts_with("user@");
        named.then(|| (unit.to_owned(), whose))
    })
}

/// Names that the file can have, each kind with its own.
#[derive(Default)]
struct Names(BTreeSet<ResourceId>);

impl Names {
    fn give(&mut self, kind: &str, wish: &str) -> String {
        let mut name: String =
            wish.chars().map(|c| if c.is_ascii_alphanumeric() || c == '_' { c } else { '-' }).take(40).collect();
        name = name.trim_matches('-').to_owned();
        if reader::name(&name).is_err() {
            name = kind.to_owned();
        }
        let mut free = name.clone();
        let mut number = 2;
        while !self.0.insert(ResourceId::new(kind, &free)) {
            free = format!("{name}-{number}");
            number += 1;
        }
        free
    }
}

/// A path as it is written in the file.
fn quoted(path: &Path) -> String {
    let text = path.to_string_lossy();
    Value::from(if text.is_empty() { "." } else { &*text }).to_string()
}

impl Found {
    /// `1 database, 1 tree, nothing that listens`
    pub fn summary(&self) -> String {
        let count = |number: usize, one: &str, many: &str| match number {
            0 => format!("no {one}"),
            1 => format!("1 {one}"),
            number => format!("{number} {many}"),
        };
        let mut parts = vec![
            count(self.databases.len(), "database", "databases"),
            count(self.trees.len(), "tree", "trees"),
            count(self.probes.len(), "listening program", "listening programs"),
        ];
        if self.cut {
            parts.push("but there is more in this folder than was looked at".to_owned());
        }
        parts.join(", ")
    }

    /// What of a tree must not be exchanged with it: what is a resource of its own, or Backout's.
    fn excludes(&self, tree: &Path) -> Vec<String> {
        let mut excludes = Vec::new();
        if tree.as_os_str().is_empty() {
            excludes.push("backout.toml".to_owned());
        }
        for inner in self.databases.iter().filter_map(|database| database.path.strip_prefix(tree).ok()) {
            let inner = inner.to_string_lossy();
            excludes.extend(["", "-wal", "-shm", "-journal"].map(|end| format!("{inner}{end}")));
        }
        let others = self.trees.iter().filter(|other| other.path != tree);
        excludes.extend(
            others.filter_map(|other| Some(other.path.strip_prefix(tree).ok()?.to_string_lossy().into_owned())),
        );
        excludes
    }

    /// The file. It can be read as it is; what nobody could find out stands there as a comment.
    pub fn text(&self) -> String {
        // A journal must not lie in a tree, not even in a part of it that is excluded.
        let itself = self.trees.iter().find(|tree| tree.path.as_os_str().is_empty());
        let state = itself.map_or("state".to_owned(), |tree| format!("../{}-backout", tree.name));
        let mut out = HEAD.replace("\"state\"   ", &format!("{:10}", Value::from(state).to_string()));
        // Writing into a string cannot fail.
        if let Some(tree) = self.trees.first() {
            let link = Value::from(format!("{}:current", tree.name));
            let _ = writeln!(
                out,
                "[product.{}]\nversion = {{ link = {link} }}   # how to ask which version is installed\n",
                tree.name
            );
        }
        out.push_str("# ── databases ──────────────────────────────────────────────────────────────────\n");
        for database in &self.databases {
            let path = quoted(&database.path);
            let _ = writeln!(out, "[database.{}]\ndriver = \"sqlite\"\npath = {path}", database.name);
            out.push_str("# keep-aside = \"14d\"                     # how long what a rollback replaced is kept\n");
            out.push_str("# exclusive = false                      # if other products use it too: then it is never replaced\n\n");
        }
        if self.databases.is_empty() {
            out.push_str("# [database.NAME]\n# driver = \"sqlite\"\n# path = \"data/NAME.db\"\n\n");
        }
        self.proposed("database", &mut out);
        out.push_str("# ── trees: program versions, configuration ─────────────────────────────────────\n");
        for tree in &self.trees {
            let _ = writeln!(out, "[tree.{}]\npath = {}", tree.name, quoted(&tree.path));
            let excludes = self.excludes(&tree.path);
            if excludes.is_empty() {
                out.push_str("# exclude = [\"uploads\", \"**/*.log\"]      # what belongs to no version\n\n");
            } else {
                let list: Vec<String> = excludes.iter().map(|path| Value::from(&**path).to_string()).collect();
                let _ = writeln!(out, "exclude = [{}]   # what belongs to no version\n", list.join(", "));
            }
        }
        if self.trees.is_empty() {
            out.push_str("# [tree.NAME]\n# path = \"srv/NAME\"\n# exclude = [\"uploads\", \"**/*.log\"]      # what belongs to no version\n\n");
        }
        self.services(&mut out);
        out.push_str(&self.tail());
        out
    }

    /// As comments: whoever reads the file decides.
    fn proposed(&self, kind: &str, out: &mut String) {
        for Beside { kind, name, what, keys } in self.beside.iter().filter(|beside| beside.kind == kind) {
            // Writing into a string cannot fail.
            let _ = writeln!(out, "# {what}\n# [{kind}.{name}]");
            for (key, value) in keys {
                let _ = writeln!(out, "# {key} = {}", Value::from(&**value));
            }
            out.push('\n');
        }
    }

    /// With the addresses of what runs here.
    fn tail(&self) -> String {
        let Around { prometheus, alertmanagers, .. } = &self.around;
        let mut tail = TAIL.to_owned();
        // One of them is the product's; where there are more, a person knows which.
        let others = |urls: &BTreeSet<String>, what: &str| -> String {
            urls.iter().skip(1).map(|url| format!("# another {what} listens at {url}\n")).collect()
        };
        if let Some(url) = prometheus.first() {
            let found = format!("{}# url = \"{url}\"", others(prometheus, "Prometheus"));
            tail = tail.replace("# url = \"http://localhost:9090\"", &found);
        }
        if let Some(url) = alertmanagers.first() {
            let found = format!("{}# alertmanager = \"{url}\"", others(alertmanagers, "Alertmanager"));
            tail = tail.replace("# alerts = {", &format!("{found}\n# alerts = {{"));
        }
        if !self.around.mail {
            tail = tail.replace(
                "# server = \"localhost\"",
                "# server = \"localhost\"                   # nobody takes mail on this host now",
            );
        }
        tail
    }

    fn services(&self, out: &mut String) {
        let kinds = [("database", &self.databases, &self.trees), ("tree", &self.trees, &self.databases)];
        let uses = kinds.iter().flat_map(|(kind, list, others)| {
            list.iter().map(move |named| match others.iter().any(|other| other.name == named.name) {
                true => Value::from(format!("{kind}:{}", named.name)).to_string(),
                false => Value::from(&*named.name).to_string(),
            })
        });
        let uses: Vec<String> = uses.collect();
        out.push_str("# ── services: Backout starts and stops them ────────────────────────────────────\n");
        let programs: BTreeMap<&str, &Listening> = self.listening.iter().map(|l| (l.name.as_str(), l)).collect();
        for (name, listening) in &programs {
            if let Some((unit, users)) = &listening.unit {
                let manager = if *users { "\n# manager = \"user\"" } else { "" };
                let unit = Value::from(&**unit);
                let _ = writeln!(
                    out,
                    "# runs now, kept by systemd\n# [service.{name}]\n# driver = \"systemd\"\n# unit = {unit}{manager}\n# uses = [{}]\n",
                    uses.join(", ")
                );
                continue;
            }
            let _ = writeln!(out, "# runs now, started by somebody else; stop it there before Backout takes it over");
            let program = Value::from(&*listening.program);
            let _ = writeln!(
                out,
                "# [service.{name}]\n# driver = \"process\"\n# run = [{program}]\n# uses = [{}]\n",
                uses.join(", ")
            );
        }
        if programs.is_empty() {
            let _ = writeln!(
                out,
                "# [service.NAME]\n# driver = \"process\"\n# run = [\"srv/NAME/current/bin/NAME\", \"serve\"]"
            );
            let _ = writeln!(out, "# user = \"NAME\"\n# uses = [{}]{USES}\n", uses.join(", "));
        }
        self.proposed("service", out);
        out.push_str("# ── probes: where the product answers ──────────────────────────────────────────\n");
        for listening in &self.listening {
            let url = Value::from(&*listening.url);
            let _ = writeln!(out, "[probe.{}]\nurl = {url}", listening.name);
            out.push_str("# load = { clients = 20, time = \"1m\" }    # the most that a load test may ask for\n\n");
        }
        if self.listening.is_empty() {
            out.push_str("# [probe.NAME]\n# url = \"http://localhost:8080\"\n# load = { clients = 20, time = \"1m\" }    # the most that a load test may ask for\n\n");
        }
    }
}

const USES: &str = "                    # starting it may change these";

const HEAD: &str = r#"# What is on this host, and who may do what with it.  `backout init` wrote this, `backout check` reads it.
# Paths are relative to this file.

[site]
state = "state"                          # journal, copies, what rollbacks replaced; outside of all trees

"#;

const TAIL: &str = r#"# ── metrics ────────────────────────────────────────────────────────────────────
[metrics.host]
driver = "host"                          # cpu, memory, disk-free, network-received, network-sent

# [metrics.NAME]
# driver = "page"                        # numbers of the product itself
# url = "http://localhost:8080/metrics"
# queries.error-rate = "ratio:json:errors / json:requests"

# [metrics.prometheus]
# driver = "prometheus"                  # what a Prometheus has gathered, and its alerts
# url = "http://localhost:9090"
# queries.p95 = { promql = 'histogram_quantile(0.95, sum by (le) (rate(NAME_seconds_bucket[1m])))', unit = "s" }
# alerts = { job = "NAME" }

# ── tools: commands that a package may run, as you write them ──────────────────
# [tool.NAME]
# run = ["srv/NAME/current/bin/NAME", "migrate"]
# user = "NAME"
# idempotent = true                      # running it twice is harmless
# check = { run = ["srv/NAME/current/bin/NAME", "migrated"] }   # else: exit code 0 it is done, 1 it is not

# ── channels: where people are told ────────────────────────────────────────────
# [channel.NAME]
# driver = "smtp"                        # or webhook, slack, alertmanager, command
# server = "localhost"
# tls = "none"
# from = "Backout <backout@localhost>"
# to = ["root@localhost"]
# on = ["needs-people", "failed", "rolled-back"]   # what Backout tells by itself; also: start, end

# ── grants: `backout allow PACKAGE` shows what is missing, and writes it here ──
"#;

/// Writes a new file, whole or not at all; one that is there already is left alone.
pub fn write(path: &Path, text: &str) -> io::Result<()> {
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // A site names secrets by file and holds none, so it is as readable as files are here; the umask counts.
    let mode = fs::Permissions::from_mode(0o644);
    let mut file = tempfile::Builder::new().prefix(".backout-").permissions(mode).tempfile_in(folder)?;
    file.write_all(text.as_bytes())?;
    file.as_file().sync_all()?;
    file.persist_noclobber(path).map_err(|error| error.error)?;
    File::open(folder)?.sync_all()
}
