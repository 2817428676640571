//! Full disks: small real ones under the demo's product, and under Backout's own state.
mod copies;
mod effects;
mod journal;

use crate::support::{disk::Disk, shop::Shop};
use backout::cli::demo::{proof::Proof, releases::Version};
use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Output},
};

/// Each test where it may mount.
macro_rules! on_small_disks {
    ($($test:ident)*) => { $(mod $test {
        #[test]
        fn on_small_disks() {
            let name = concat!(module_path!(), "::on_small_disks");
            crate::support::disk::with_mounts(name.strip_prefix("it::").unwrap(), super::$test);
        }
    })* };
}
use on_small_disks;

/// Three disks of a host: one for its files, one for its database, one for what Backout keeps.
struct Host {
    // Dropped in this order: one is mounted below the other, and all of them below the shop's folder.
    data: Disk,
    files: Disk,
    state: Disk,
    shop: Shop,
    before: Proof,
}

/// The shop, and what happens on its host right after it was stopped.
const SERVICE: &str = r#"#!/bin/sh
srv/app/current/bin/shop "$@" &
shop=$!
stop() {
    wait $shop
    [ ! -e on-stop ] || python3 -I -S on-stop
    exit 0
}
trap stop TERM
wait $shop
"#;

/// What those who stop it may say.
const ON_STOP: &str = r#"
import os, sqlite3, subprocess
def fill(disk, leave=0):
    about = os.statvfs(disk)
    with open(disk + '/filler', 'wb') as filler:
        os.posix_fallocate(filler.fileno(), 0, about.f_bavail * about.f_frsize - leave)
def grow(bytes):
    database = sqlite3.connect('srv/data/shop.db', isolation_level=None)
    database.execute('PRAGMA wal_autocheckpoint = 0')
    database.execute('INSERT INTO ballast VALUES (randomblob(?))', [bytes])
    return database
def mount(options, disk):
    subprocess.run(['mount', '-o', 'remount,' + options, disk], check=True)
"#;

impl Host {
    fn new(version: Version) -> Self {
        let mut shop = Shop::new(version);
        let settings = "require = { settings = { watch = \"2s\", load = \"1s\", clients = 2 } }";
        shop.edit_site("versions = \"2.*\"", &format!("versions = \"2.*\"\n{settings}"));
        let service = shop.folder.path("service.sh");
        fs::write(&service, SERVICE).unwrap();
        fs::set_permissions(&service, fs::Permissions::from_mode(0o755)).unwrap();
        shop.edit_site("\"srv/app/current/bin/shop\", \"serve\"", "\"./service.sh\", \"serve\"");
        let database = rusqlite::Connection::open(shop.folder.database()).unwrap();
        database.execute_batch("CREATE TABLE ballast (content)").unwrap();
        drop(database);
        let files = Disk::under(&shop.folder.path("srv"), "size=64m");
        let data = Disk::under(&shop.folder.path("srv/data"), "size=96m");
        let state = Disk::under(&shop.folder.path("state"), "size=64m");
        fs::set_permissions(shop.folder.path("state"), fs::Permissions::from_mode(0o700)).unwrap();
        shop.open();
        let before = shop.proof();
        Self { data, files, state, shop, before }
    }

    fn package(&self) -> String {
        self.shop.package().to_str().unwrap().to_owned()
    }

    /// Python that runs when the shop has been stopped, once.
    fn on_stop(&self, script: &str) {
        let once = "os.remove('on-stop')\n";
        fs::write(self.shop.folder.path("on-stop"), format!("{ON_STOP}{once}{script}\n")).unwrap();
    }

    /// Makes the live data, not only the copies, so large that copying takes a while.
    fn load(&mut self, megabytes: u64) {
        let database = rusqlite::Connection::open(self.shop.folder.database()).unwrap();
        for _ in 0..megabytes {
            database.execute("INSERT INTO ballast VALUES (randomblob(1000000))", []).unwrap();
        }
        drop(database);
        for n in 0..megabytes {
            fs::write(self.shop.folder.path(&format!("srv/app/ballast-{n}")), vec![n as u8; 1_000_000]).unwrap();
        }
        self.before = self.shop.proof();
    }

    /// Nothing is live but what was, and nothing lies beside it that nobody can use.
    #[track_caller]
    fn untouched(&self) {
        self.shop.is_as(&self.before);
        assert_eq!(self.shop.copies(), [""; 0]);
        assert!(self.shop.folder.database().is_file(), "a fence is left");
    }

    fn home_of(&self, what: &str) -> PathBuf {
        match what {
            "database" => self.shop.folder.path("srv/data/.backout/shop"),
            _ => self.shop.folder.path("srv/.backout/tree.app"),
        }
    }
}

fn text(output: &Output) -> String {
    format!("{}\n{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn ended(child: Child) -> (Option<i32>, String) {
    let output = child.wait_with_output().unwrap();
    (output.status.code(), text(&output))
}

/// The first file of a name below a folder.
fn find(folder: &Path, name: &str) -> Option<PathBuf> {
    for entry in fs::read_dir(folder).ok()?.flatten() {
        if entry.file_name() == name {
            return Some(entry.path());
        }
        if let Some(found) = find(&entry.path(), name) {
            return Some(found);
        }
    }
    None
}
