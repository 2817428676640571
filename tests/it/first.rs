//! `init`: the first site file.
use crate::support::packages::Folder;
use expect_test::expect;
use std::{
    fs,
    os::unix::fs::{MetadataExt, symlink},
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
