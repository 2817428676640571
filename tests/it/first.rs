//! `init`: the first site file.
use crate::support::{bench::Bench, docker, mariadb, packages::Folder, postgres, prometheus};
use expect_test::expect;
use std::{
    fs,
    os::unix::fs::{MetadataExt, symlink},
    path::Path,
};

fn database(folder: &Folder, path: &str) {
    fs::create_dir_all(folder.at(path).parent().unwrap()).unwrap();
    let connection = rusqlite::Connection::open(folder.at(path)).unwrap();
    connection.execute_batch("CREATE TABLE orders (id INTEGER PRIMARY KEY)").unwrap();
}

#[test]
fn init_finds_databases_and_trees_and_what_it_writes_is_in_order() {
    let folder = Folder::new();
    database(&folder, "srv/data/shop.db");
    database(&folder, "srv/data/2nd shop");
    database(&folder, "srv/app/versions/1.0/sample.db");
    database(&folder, "srv/app/var/live.db");
    database(&folder, "srv/.cache/hidden.db");
    folder.write("srv/data/notes.db", "x".repeat(512));
    symlink("versions/1.0", folder.at("srv/app/current")).unwrap();
    folder.folder("srv/other");
    symlink("/etc", folder.at("srv/other/current")).unwrap();
    let said = folder.backout(&["init", "srv"]);
    expect![[r#"
        srv/backout.toml is written: 3 databases, 1 tree, no listening program
        ── stderr
        Read it, complete it, then: backout check
        ── exit 0
    "#]]
    .assert_eq(&said.whole());
    let text = folder.read("srv/backout.toml");
    let lines = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    expect![[r#"
        [site]
        state = "state"                          # journal, copies, what rollbacks replaced; outside of all trees
        [product.app]
        version = { link = "app:current" }   # how to ask which version is installed
        [database.live]
        driver = "sqlite"
        path = "app/var/live.db"
        [database.2nd-shop]
        driver = "sqlite"
        path = "data/2nd shop"
        [database.shop]
        driver = "sqlite"
        path = "data/shop.db"
        [tree.app]
        path = "app"
        exclude = ["var/live.db", "var/live.db-wal", "var/live.db-shm", "var/live.db-journal"]   # what belongs to no version
        [metrics.host]
        driver = "host"                          # cpu, memory, disk-free, network-received, network-sent"#]].assert_eq(&lines.collect::<Vec<_>>().join("\n"));
    assert_eq!(folder.at("srv/backout.toml").metadata().unwrap().mode() & 0o133, 0);
    let said = folder.backout(&["check", "--site", "srv/backout.toml"]);
    assert_eq!(said.code, 0, "{}", said.out);
}

#[test]
fn what_init_leaves_as_comments_is_right_too() {
    let folder = Folder::new();
    assert_eq!(folder.backout(&["init"]).code, 0);
    // All that looks like a line of the file, as somebody would uncomment it.
    let text = folder.read("backout.toml");
    let uncommented: Vec<&str> = text
        .lines()
        .map(|line| match line.strip_prefix("# ") {
            Some(rest) if rest.starts_with('[') || rest.split_once(" = ").is_some_and(|(k, _)| !k.contains(' ')) => {
                rest
            }
            _ => line,
        })
        .collect();
    let uncommented = uncommented.join("\n");
    assert!(uncommented.contains("\n[service.NAME]\n"), "{uncommented}");
    folder.write("backout.toml", uncommented);
    backout::site::Site::load(&folder.at("backout.toml")).unwrap_or_else(|e| panic!("{e}"));
}

#[test]
fn a_folder_that_is_a_tree_itself_keeps_backouts_things_out_of_it() {
    let folder = Folder::new();
    folder.folder("shop/v1");
    symlink("v1", folder.at("shop/current")).unwrap();
    database(&folder, "shop/orders.db");
    assert_eq!(folder.backout(&["init", "shop"]).code, 0);
    let text = folder.read("shop/backout.toml");
    assert!(text.contains("state = \"../shop-backout\""), "{text}");
    assert!(text.contains("path = \".\"\nexclude = [\"backout.toml\", \"orders.db\", "), "{text}");
    let said = folder.backout(&["check", "--site", "shop/backout.toml"]);
    assert_eq!(said.code, 0, "{}", said.out);
}

/// Its comments, with their marks taken away: what somebody may read is what would be written.
#[test]
fn what_runs_beside_the_folder_is_proposed_and_not_asked() {
    let folder = Folder::new();
    let server = &*postgres::SERVER;
    let other = &*mariadb::SERVER;
    let watching = prometheus::servers();
    let bench = Bench::new();
    let container = docker::daemon().create(&bench, &[], "sleep 60");
    container.docker(&["start"]);
    // systemd's own folder of this machine; what is there only until the next start.
    let name = format!("backout-first-{}.service", std::process::id());
    let units = Path::new("/run/systemd/system");
    fs::create_dir_all(units).expect("this test runs as root");
    let unit = units.join(&name);
    let program = folder.path().canonicalize().unwrap().join("bin/serve");
    fs::write(&unit, format!("[Service]\nExecStart=-{} --port 80\n", program.display())).unwrap();
    let said = folder.backout(&["init"]);
    fs::remove_file(&unit).unwrap();
    assert_eq!(said.code, 0, "{}", said.whole());
    let text = folder.read("backout.toml");
    let sockets = server.folder().display().to_string().replace('/', "%2F");
    for line in [
        format!("# url = \"postgresql://backout@{sockets}:"),
        format!("# url = \"mysql://backout@localhost/NAME?socket={}\"", other.socket().display()),
        format!("# unit = \"{name}\""),
        format!("# container = \"{}\"", container.name),
        format!("# socket = \"{}\"", docker::daemon().socket().display()),
        watching.url().replace("127.0.0.1", "localhost"),
    ] {
        assert!(text.contains(&line), "{line} is not in\n{text}");
    }
    assert!(!text.contains("password"), "{text}");
    // Nobody of these would be asked before somebody has read it.
    let plain: Vec<&str> = text.lines().filter(|line| line.starts_with('[')).collect();
    assert_eq!(plain, ["[site]", "[metrics.host]"]);
}

#[test]
fn init_never_overwrites() {
    let folder = Folder::new();
    folder.write("backout.toml", "# mine\n");
    expect![[r#"
        ── stderr
        error: there is a site file already: backout.toml
          hint: `backout check` looks whether it is right
        ── exit 3
    "#]]
    .assert_eq(&folder.backout(&["init"]).whole());
    assert_eq!(folder.read("backout.toml"), "# mine\n");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    assert_eq!(folder.backout(&["init", "nowhere"]).code, 3);
}

#[test]
fn a_program_of_the_folder_that_listens_becomes_a_probe() {
    let folder = Folder::new();
    let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = socket.local_addr().unwrap().port();
    // A process that inherits the socket and has its working directory in the folder.
    rustix::io::fcntl_setfd(&socket, rustix::io::FdFlags::empty()).unwrap();
    let mut child = std::process::Command::new("sleep").arg("60").current_dir(folder.path()).spawn().unwrap();
    rustix::io::fcntl_setfd(&socket, rustix::io::FdFlags::CLOEXEC).unwrap();
    let said = folder.backout(&["init", "--json"]);
    child.kill().unwrap();
    child.wait().unwrap();
    let view: serde_json::Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(view["probes"].as_array().unwrap().len(), 1, "{view}");
    let text = folder.read("backout.toml");
    assert!(text.contains(&format!("url = \"http://localhost:{port}\"")), "{text}");
}
