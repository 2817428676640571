//! A server that is killed while Backout works on it: the run is gone on with.
use super::{Buyer, Data, Host, mariadb};
use crate::support::{
    bench::wait_for,
    guests,
    mariadb::{Client, Server},
};
use std::{
    io::{BufRead, BufReader},
    sync::Arc,
    thread,
    time::Duration,
};

/// Runs a command, kills the server as soon as it says these words, and waits for it to come back. The exit code.
fn killed_at<D: Data>(
    host: &Host<D>,
    server: &Server,
    args: &[&str],
    words: &str,
    ready: &dyn Fn() -> Option<Client>,
) -> Option<i32> {
    let mut child = host.shop.spawn(args);
    let mut said = String::new();
    let mut killed = false;
    for line in BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok) {
        said += &format!("{line}\n");
        if !killed && line.contains(words) {
            let held = ready();
            server.killer()();
            if let Some((mut child, _)) = held.map(Client::into_child) {
                child.kill().unwrap();
                child.wait().unwrap();
            }
            killed = true;
        }
    }
    let code = child.wait().unwrap().code();
    assert!(killed, "it never came to {words}:\n{said}");
    server.wait_ready();
    code
}

/// While a copy is made, while it is brought up to date, and while the tables change places.
#[test]
fn a_run_goes_on_after_its_server_was_killed() {
    let server = Arc::new(Server::start(&[]));
    let mut host = Host::new(mariadb::Orders::on(server.clone()), guests::rust_shop());
    let settings = "require = { settings = { watch = \"2s\", load = \"1s\", clients = 2 } }";
    host.shop.edit_site("versions = \"2.*\"", &format!("versions = \"2.*\"\n{settings}"));
    let before = host.data.dump();
    host.shop.open();
    let buyer = Buyer::start(host.shop.folder.port);
    let package = host.shop.package();
    let upgrade = ["upgrade", "--yes", package.to_str().unwrap()];
    let at_once = || {
        thread::sleep(Duration::from_millis(50));
        None
    };
    // Somebody whom no fence concerns keeps the tables for a while.
    let renaming = || {
        let mut holder = Client::new(server.client("root", ""));
        holder.answer(&format!("START TRANSACTION; SELECT count(*) FROM {}.orders", host.data.database));
        let sql = "SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE INFO LIKE 'RENAME TABLE%'";
        wait_for("the exchange", || (server.ask("", sql) == ["1"]).then_some(()));
        Some(holder)
    };
    for (words, ready) in [
        ("… prepare/copy-data", &at_once as &dyn Fn() -> Option<Client>),
        ("… upgrade/close", &at_once),
        ("… rollback/stop", &renaming),
    ] {
        let mut codes = vec![killed_at(&host, &server, &upgrade, words, ready)];
        // It says whether there is anything to go on with.
        while matches!(codes.last(), Some(Some(5 | 6))) && codes.len() < 4 {
            codes.push(host.shop.backout(&["resume", "--yes"]).status.code());
        }
        println!("{words}: {codes:?}");
        assert_eq!(codes.last(), Some(&Some(4)), "{words}: {codes:?}");
        assert_eq!(host.shop.version().as_deref(), Some("1.0.0"), "{words}");
        assert_eq!(host.data.dump(), before, "{words}");
    }
    host.is_whole(&buyer.confirmed());
}
