//! Rollbacks as people run them: whole processes, from the decision to a product that answers again. It is one of 10 MB or of 1 GB
//! on a PostgreSQL server, with a folder beside it that says which release runs.
use crate::{
    fixture, guests,
    on_postgres::{MAKE, ORDERS_IN_1_GB, done},
    postgres::{self, Server},
    processes::BACKOUT,
    sample::Pairs,
};
use std::{
    fs,
    io::{BufRead, BufReader, Read},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::OnceLock,
    time::{Duration, Instant},
};

const ORDERS_IN_10_MB: u32 = ORDERS_IN_1_GB / 100;
const SAMPLES: usize = 5;
const FILES: [(&str, &str, u32); 4] = [
    ("ctl", include_str!("rollback/ctl"), 0o755),
    ("rollback.sh", include_str!("rollback/rollback.sh"), 0o755),
    ("rollback.yml", include_str!("rollback/rollback.yml"), 0o644),
    ("backout.toml", include_str!("rollback/backout.toml"), 0o644),
];

/// What `ctl` starts: it says how many orders of all it sees, and which release it is.
pub fn product(port: &str, connection: &str) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (client, connected) = tokio_postgres::connect(connection, tokio_postgres::NoTls).await.unwrap();
        tokio::spawn(connected);
        let client = std::sync::Arc::new(client);
        let answer = move || {
            let client = client.clone();
            async move {
                let first: i32 = client.query_one("SELECT min(id) FROM orders", &[]).await.unwrap().get(0);
                format!("release {}, orders from {first} on\n", fs::read_to_string("config/release").unwrap())
            }
        };
        let routes = axum::Router::new().route("/", axum::routing::get(answer));
        let listener = tokio::net::TcpListener::bind(format!("127.0.0.1:{port}")).await.unwrap();
        axum::serve(listener, routes).await.unwrap();
    });
}

struct Host {
    folder: tempfile::TempDir,
    server: &'static Server,
    database: String,
    port: u16,
}

/// One for all of them.
fn server() -> &'static Server {
    static SERVER: OnceLock<Server> = OnceLock::new();
    SERVER.get_or_init(|| {
        let server = Server::start(&postgres::newest(), &["fsync=on"]);
        server.sql("postgres", "CREATE ROLE shop LOGIN");
        server
    })
}

impl Host {
    /// With 1.0 serving.
    fn new(orders: u32) -> Self {
        let server = server();
        let database = server.database("shop");
        server.sql("postgres", &format!("ALTER DATABASE {database} OWNER TO shop"));
        server.sql(&database, &format!("SET ROLE shop; {}", MAKE.replace("ORDERS", &orders.to_string())));
        server.sql(&database, "VACUUM ANALYZE");
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let host = Self { folder: fixture::folder(), server, database, port };
        let socket = server.folder().to_str().unwrap();
        for (name, text, mode) in FILES {
            let text = text
                .replace("@PROGRAM@", std::env::current_exe().unwrap().to_str().unwrap())
                .replace("@PORT@", &port.to_string())
                .replace("@SERVER@", &server.port.to_string())
                .replace("@DATABASE@", &host.database)
                .replace("@SOCKET@", &socket.replace('/', "%2F"))
                .replace(
                    "@CONNECTION@",
                    &format!("host={socket} port={} user=shop dbname={}", server.port, host.database),
                );
            fs::write(host.path(name), text).unwrap();
            fs::set_permissions(host.path(name), fs::Permissions::from_mode(mode)).unwrap();
        }
        host.release("config", "1.0");
        guests::seven_steps().copy_to(&host.path("package"));
        host.ctl("start");
        host.answers("1.0");
        host
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn release(&self, folder: &str, release: &str) {
        fs::create_dir_all(self.path(folder)).unwrap();
        fs::write(self.path(folder).join("release"), release).unwrap();
    }

    fn ctl(&self, verb: &str) {
        done(Command::new(self.path("ctl")).arg(verb).stdin(Stdio::null()));
    }

    /// By somebody who is not measured.
    fn answers(&self, release: &str) {
        let until = Instant::now() + Duration::from_secs(20);
        loop {
            let mut said = String::new();
            if let Ok(mut stream) = std::net::TcpStream::connect(("127.0.0.1", self.port)) {
                use std::io::Write;
                write!(stream, "GET / HTTP/1.1\r\nhost: shop\r\nconnection: close\r\n\r\n").unwrap();
                let _ = stream.read_to_string(&mut said);
            }
            if said.contains(&format!("release {release},")) {
                return;
            }
            let log = || fs::read_to_string(self.path("product.log")).unwrap_or_default();
            assert!(Instant::now() < until, "{release} does not answer: {said}\n{}", log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Nobody's writes of before are waited for in what is measured next.
    fn rest(&self) {
        self.server.sql("postgres", "CHECKPOINT");
        rustix::fs::sync();
    }

    fn backout(&self, arguments: &[&str]) -> f64 {
        let mut command = Command::new(BACKOUT);
        command.args(arguments).current_dir(self.folder.path()).stdin(Stdio::null());
        let began = Instant::now();
        done(&mut command);
        began.elapsed().as_secs_f64()
    }

    /// Upgraded by Backout, taken back by Backout; with nothing left of it then. How long the process took, and how long it was
    /// until the product had answered.
    fn taken_back(&self) -> (f64, f64) {
        self.backout(&["upgrade", "--yes", "package"]);
        self.answers("2.0");
        self.rest();
        let mut command = Command::new(BACKOUT);
        command.args(["rollback", "--yes"]).current_dir(self.folder.path()).stdin(Stdio::null());
        let began = Instant::now();
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let mut answered = None;
        let mut said = String::new();
        for line in BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap) {
            if line.contains("✓ rollback/verify") {
                answered = Some(began.elapsed().as_secs_f64());
            }
            said += &format!("{line}\n");
        }
        assert!(child.wait().unwrap().success(), "{said}");
        let whole = began.elapsed().as_secs_f64();
        self.answers("1.0");
        self.backout(&["commit", "--yes"]);
        (whole, answered.unwrap_or_else(|| panic!("it does not say that the product answers: {said}")))
    }

    /// Puts this host where `rollback.sh` begins.
    fn upgraded_by_hand(&self) {
        self.ctl("stop");
        let database = &self.database;
        self.server.sql("postgres", &format!("CREATE DATABASE {database}_standby TEMPLATE {database} OWNER shop"));
        self.release("config", "2.0");
        self.release("config.standby", "1.0");
        self.ctl("start");
        self.answers("2.0");
        self.rest();
    }

    fn by_hand(&self, program: &Path, arguments: &[&str]) -> f64 {
        self.upgraded_by_hand();
        let path = format!("{}:{}", postgres::newest().display(), std::env::var("PATH").unwrap());
        let mut command = Command::new(program);
        command.args(arguments).current_dir(self.folder.path()).stdin(Stdio::null()).env("PATH", path);
        command
            .env("PGHOST", self.server.folder())
            .env("PGPORT", self.server.port.to_string())
            .env("PGUSER", "postgres");
        let began = Instant::now();
        done(&mut command);
        let spent = began.elapsed().as_secs_f64();
        self.answers("1.0");
        self.server.sql("postgres", &format!("DROP DATABASE {}_aside", self.database));
        fs::remove_dir_all(self.path("config.aside")).unwrap();
        spent
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.ctl("stop");
    }
}

/// Seconds.
struct Sizes {
    small: Vec<f64>,
    large: Vec<f64>,
    restore: Vec<f64>,
}

fn sizes() -> &'static Sizes {
    static SIZES: OnceLock<Sizes> = OnceLock::new();
    SIZES.get_or_init(|| {
        let (small, large) = (Host::new(ORDERS_IN_10_MB), Host::new(ORDERS_IN_1_GB));
        let dump = large.path("dump");
        let mut tool = large.server.tool("pg_dump", &large.database);
        done(tool.args(["--format=directory", "--jobs=2", "--compress=0", "--file"]).arg(&dump));
        let restore = || {
            large.server.sql("postgres", "CREATE DATABASE restored TEMPLATE template0");
            large.rest();
            let mut tool = large.server.tool("pg_restore", "restored");
            let began = Instant::now();
            done(tool.arg("--jobs=2").arg(&dump));
            let spent = began.elapsed().as_secs_f64();
            large.server.sql("postgres", "DROP DATABASE restored");
            spent
        };
        let mut sizes = Sizes { small: vec![], large: vec![], restore: vec![] };
        small.taken_back();
        for _ in 0..SAMPLES {
            sizes.small.push(small.taken_back().1);
            sizes.large.push(large.taken_back().1);
            sizes.restore.push(restore());
        }
        sizes
    })
}

fn pairs(baseline: &[f64], ours: &[f64]) -> Pairs {
    let mut pairs = Pairs::default();
    baseline.iter().zip(ours).for_each(|(baseline, ours)| pairs.push(*baseline, *ours));
    pairs
}

pub fn against_size() -> Pairs {
    pairs(&sizes().small, &sizes().large)
}

pub fn against_restore() -> Pairs {
    pairs(&sizes().restore, &sizes().large)
}

/// Of Ansible's own packages, in a virtual environment that is made once.
fn ansible() -> PathBuf {
    const VERSION: &str = "2.19.14";
    let venv = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/tools").join(format!("ansible-{VERSION}"));
    let playbook = venv.join("bin/ansible-playbook");
    if !playbook.exists() {
        done(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&venv));
        done(Command::new(venv.join("bin/pip")).args(["install", "--quiet", &format!("ansible-core=={VERSION}")]));
    }
    playbook
}

pub fn against_ansible() -> Pairs {
    let (hand, host, playbook) = (Host::new(ORDERS_IN_10_MB), Host::new(ORDERS_IN_10_MB), ansible());
    Pairs::measure(5, || hand.by_hand(&playbook, &["rollback.yml"]), || host.taken_back().0)
}

pub fn against_bash() -> Pairs {
    let (hand, host) = (Host::new(ORDERS_IN_10_MB), Host::new(ORDERS_IN_10_MB));
    Pairs::measure(9, || hand.by_hand(Path::new("./rollback.sh"), &[]), || host.taken_back().0)
}
