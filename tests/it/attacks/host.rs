//! A host with something to lose, and a package that attacks it. The real program runs it; what it said, changed and used is
//! looked at from outside.
use super::{Attack, race::Exchanging};
use crate::support::{
    command::{Ended, backout},
    guests,
    packages::Folder,
};
use serde_json::Value;
use std::{
    collections::BTreeMap,
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpListener},
    os::unix::fs::{MetadataExt, symlink},
    path::Path,
    thread,
    time::Duration,
};

/// What nobody but its owner may see.
pub const SECRET: &str = "sesame-7f3a9";
/// Far more than any attack needs, and far less than for ever; the machine may be busy.
pub const PATIENCE: Duration = Duration::from_secs(180);

const SITE: &str = r#"
[tree.app]
path = "srv/app"

[tree.data]
path = "srv/data"

[database.orders]
driver = "sqlite"
path = "srv/orders.db"

[service.shop]
driver = "process"
run = ["/bin/sleep", "1000"]

[tool.migrate]
run = ["/bin/touch", "srv/migrated"]

[tool.loud]
run = ["/bin/cat", "srv/loud"]
idempotent = true

[metrics.host]
driver = "host"

[probe.shop]
url = "http://PRODUCT/shop"
load = { clients = 2, time = "2s" }

[allow."evil/script"]
tree.app = { may = ["read", "write", "backup", "restore"] }
database.orders = { may = ["read"] }
tool.loud = { may = ["run"] }
metrics.host = { may = ["read"] }
probe.shop = { may = ["get", "load"] }
"#;

/// Enough for what is stopped by something else.
pub const LIMITS: &str = "memory = \"64MiB\"\ncpu = \"30s\"\ntime = \"60s\"";
const MEMORY: u64 = 64 << 20;

/// What Backout itself may need, beside what the site allows the script: see `docs/attacks.md`.
pub const OWN_MEMORY: u64 = 128 << 20;
pub const DISK: u64 = 96 << 20;
pub const OWN_CPU: Duration = Duration::from_secs(10);
/// The machine may be busy with something else.
pub const OWN_TIME: Duration = Duration::from_secs(90);

/// The rights that an attacker asks for, by the interface without which they would be refused.
const NEEDS: &[(&str, &str)] = &[
    ("files", "tree.app = { may = [\"read\", \"write\"], why = \"something has to be granted\" }"),
    ("metrics", "metrics.host = { may = [\"read\"], queries = [\"cpu\"], why = \"something has to be granted\" }"),
    ("probe", "probe.shop = { may = [\"get\", \"load\"], why = \"something has to be granted\" }"),
    ("tool", "tool.loud = { may = [\"run\"], why = \"something has to be granted\" }"),
    ("database", "database.orders = { may = [\"read\"], why = \"something has to be granted\" }"),
];

/// What somebody else does while the script runs, until this is dropped.
pub type Meanwhile = fn(&Folder) -> Exchanging;

/// An attack that was tried, and what came of it.
pub struct Attempt {
    pub ended: Ended,
    pub report: Value,
    /// the same for people
    pub markdown: String,
}

/// A product that sends everybody on to somebody else, who must not be asked.
struct Product {
    address: SocketAddr,
    other: TcpListener,
}

impl Product {
    fn start() -> Self {
        let [product, other] = ["127.0.0.1:0"; 2].map(|address| TcpListener::bind(address).unwrap());
        let (address, elsewhere) = (product.local_addr().unwrap(), other.local_addr().unwrap());
        let answer = format!(
            "HTTP/1.1 302 Found\r\nlocation: http://{elsewhere}/{SECRET}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
        );
        // Ends with the test's process; there is one for each attack.
        thread::spawn(move || {
            for mut stream in product.incoming().flatten() {
                let _ = stream.read(&mut [0; 4096]);
                let _ = stream.write_all(answer.as_bytes());
            }
        });
        other.set_nonblocking(true).unwrap();
        Self { address, other }
    }

    fn other_was_asked(&self) -> bool {
        self.other.accept().is_ok()
    }
}

fn host(component: &[u8], limits: &str, product: &Product) -> Folder {
    let host = Folder::new();
    let root = if rustix::process::geteuid().is_root() { "allow-root = true\n" } else { "" };
    let site =
        SITE.replace("PRODUCT", &product.address.to_string()).replace("run = [\"/bin", &format!("{root}run = [\"/bin"));
    host.write("backout.toml", format!("{site}\n[limits]\n{limits}\n"));
    host.write("srv/app/large", "large ".repeat(80_000));
    host.write("srv/app/file", "an honest file\n");
    host.write("srv/app/sub/file", "another\n");
    host.write("srv/data/file", "of another tree\n");
    host.write("srv/secret", SECRET);
    host.write("srv/loud", "x".repeat(1_000_000));
    symlink("../secret", host.at("srv/app/out")).unwrap();
    symlink("..", host.at("srv/app/outside")).unwrap();
    symlink("sub", host.at("srv/app/current")).unwrap();
    symlink(host.at("srv/secret"), host.at("srv/app/absolute")).unwrap();
    let database = rusqlite::Connection::open(host.at("srv/orders.db")).unwrap();
    database.execute_batch("CREATE TABLE items (name TEXT); INSERT INTO items VALUES ('an honest row')").unwrap();
    host.write("package/script.wasm", component);
    let imported = |interface: &str| {
        let name = format!("backout:host/{interface}@");
        component.windows(name.len()).any(|bytes| bytes == name.as_bytes())
    };
    let needs: Vec<&str> = NEEDS.iter().filter(|(interface, _)| imported(interface)).map(|(_, need)| *need).collect();
    let manifest = fs::read_to_string(guests::root().join("tests/attacks/package.toml")).unwrap();
    host.write("package/package.toml", format!("{manifest}\n[needs]\n{}\n", needs.join("\n")));
    let mut gift = tar::Builder::new(Vec::new());
    gift.append_path_with_name(host.at("srv/app/file"), "file").unwrap();
    host.write("package/gift.tar", gift.into_inner().unwrap());
    host
}

impl Attempt {
    /// Lets it attack, and looks at what must be so after every attack.
    pub fn of(attack: &Attack, component: &[u8], limits: &str, command: &str, meanwhile: Option<Meanwhile>) -> Self {
        let product = Product::start();
        let host = host(component, limits, &product);
        let exchanging = meanwhile.map(|begin| begin(&host));
        // Inside of a tree that others work on too, this one may have left something.
        let own = exchanging.is_some().then(|| host.at("srv/app"));
        let kept = || {
            let mut kept = everything(&host.at("srv"));
            kept.retain(|path, _| own.as_ref().is_none_or(|own| !Path::new(path).starts_with(own)));
            kept
        };
        let before = kept();
        let ended = backout(host.path(), &[command, "package", "--yes"], PATIENCE);
        drop(exchanging);
        assert_eq!(kept(), before, "something was changed: {ended:#?}");
        assert!(!product.other_was_asked(), "another host was asked");
        attack.judge(ended.code, &host.plain(&ended.text));
        let control = |c: char| c != '\n' && (c.is_control() || matches!(c, '\u{202a}'..='\u{202e}'));
        assert!(!ended.text.contains(control), "control characters reach the terminal: {:?}", ended.text);
        assert!(ended.text.len() < 20_000, "{} bytes of output", ended.text.len());
        assert!(occupied(&host.at("state")) < DISK, "the attack has filled the disk");
        // The compiler has bounds of its own, which nothing but an attack on it comes near.
        let compiler = if attack.name.starts_with("function") { 2 << 30 } else { 0 };
        assert!(ended.used.memory < OWN_MEMORY + MEMORY + compiler, "{ended:#?}");
        assert!(ended.used.cpu < OWN_CPU + limit(limits, "cpu"), "{ended:#?}");
        assert!(ended.took < OWN_TIME + limit(limits, "time"), "{ended:#?}");
        let report = ["report.md", "report.json"].map(|file| {
            let report = fs::read_to_string(host.at("state/runs/1").join(file)).unwrap_or_default();
            assert!(!report.contains(SECRET) && !ended.text.contains(SECRET), "the secret got out");
            report
        });
        let [markdown, report] = report;
        Self { ended, report: serde_json::from_str(&report).unwrap_or_default(), markdown }
    }

    /// What the host answered to each of the calls that the script tried.
    pub fn answers(&self) -> BTreeMap<String, String> {
        let message = self.report["ending"]["message"].as_str().unwrap();
        assert!(!message.contains("GOT THROUGH"), "{message}");
        let (_, calls) = message.split_once(": ").unwrap();
        let answers = calls.trim_end_matches(" (failed)").split(" ¦ ").map(|call| call.split_once(": ").unwrap());
        answers.map(|(call, answer)| (call.to_owned(), answer.to_owned())).collect()
    }

    /// All of these calls, and none of another kind.
    pub fn answered(&self, calls: usize, kind: &str) {
        let answers = self.answers();
        assert_eq!(answers.len(), calls, "{answers:#?}");
        assert!(answers.values().all(|answer| answer.starts_with(&format!("Kind::{kind}: "))), "{answers:#?}");
    }
}

fn limit(limits: &str, name: &str) -> Duration {
    let begin = format!("{name} = \"");
    let seconds = limits.lines().find_map(|line| line.strip_prefix(&begin)?.strip_suffix("s\"")).unwrap();
    Duration::from_secs(seconds.parse().unwrap())
}

/// Every entry below the folder, with all that can be told of it.
pub fn everything(folder: &Path) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let (path, about) = (entry.path(), fs::symlink_metadata(entry.path()).unwrap());
        let content = if about.is_symlink() {
            fs::read_link(&path).unwrap().display().to_string()
        } else if about.is_dir() {
            found.extend(everything(&path));
            String::new()
        } else {
            String::from_utf8_lossy(&fs::read(&path).unwrap()).into_owned()
        };
        let line =
            format!("{:o} {}:{} {:?} {content}", about.mode(), about.uid(), about.gid(), about.modified().unwrap());
        found.insert(path.display().to_string(), line);
    }
    found
}

fn occupied(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.map(|path| if path.is_dir() { occupied(&path) } else { fs::metadata(path).unwrap().len() }).sum()
}
