//! Damage that was there before a copy was made, and damage to a copy that was proven: found, said, and nothing made worse.
use crate::support::{bench::wait_for, shop::Shop};
use backout::{
    cli::demo::{proof::Proof, releases::Version},
    journal::{Entry, Reader},
};
use rusqlite::Connection;
use sha2::{Digest, Sha256};
use std::{
    fs::{self, File, FileTimes, OpenOptions},
    os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink},
    path::{Path, PathBuf},
};

const PAGE: u64 = 4096;

fn running(version: Version) -> Shop {
    let mut shop = Shop::new(version);
    let settings = "require = { settings = { watch = \"2s\", load = \"1s\", clients = 2 } }";
    shop.edit_site("versions = \"2.*\"", &format!("versions = \"2.*\"\n{settings}"));
    shop.open();
    shop
}

fn package(shop: &Shop) -> String {
    shop.package().to_str().unwrap().to_owned()
}

fn digest(path: &Path) -> String {
    format!("{:x}", Sha256::digest(fs::read(path).unwrap()))
}

fn flip(path: &Path, at: u64) {
    let file = OpenOptions::new().read(true).write(true).open(path).unwrap();
    let mut bytes = [0; 16];
    file.read_exact_at(&mut bytes, at).unwrap();
    file.write_all_at(&bytes.map(|byte| !byte), at).unwrap();
}

/// Everything that is in memory alone reaches the file, so that the file is what there is.
fn settle(database: &Path) -> Vec<u8> {
    let connection = Connection::open(database).unwrap();
    connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
    fs::read(database).unwrap()
}

fn root_page(database: &Path, name: &str) -> u64 {
    let connection = Connection::open(database).unwrap();
    let page: i64 =
        connection.query_row("SELECT rootpage FROM sqlite_schema WHERE name = ?1", [name], |row| row.get(0)).unwrap();
    (page as u64 - 1) * PAGE
}

/// The page of the last leaf of a tree: what is in it is no structure of other pages.
fn leaf_page(database: &Path, name: &str) -> u64 {
    let bytes = fs::read(database).unwrap();
    let mut at = root_page(database, name) as usize;
    // An interior page names its rightmost child at offset 8.
    while matches!(bytes[at], 2 | 5) {
        let child = u32::from_be_bytes(bytes[at + 8..at + 12].try_into().unwrap());
        at = (child as usize - 1) * PAGE as usize;
    }
    at as u64
}

#[test]
fn a_database_that_was_damaged_before_is_never_proven() {
    let shop = running(Version::V2Good);
    let database = shop.folder.database();
    let whole = settle(&database);
    let (table, index) = (root_page(&database, "items"), leaf_page(&database, "orders_by_customer"));
    let value = leaf_page(&database, "orders_by_customer") + PAGE - 40;
    type Damage<'a> = Box<dyn Fn() + 'a>;
    let damages: [(&str, Damage, &str); 7] = [
        ("a page of a table", Box::new(|| flip(&database, table)), "the database is damaged: "),
        ("a page of an index", Box::new(|| flip(&database, index)), "the database is damaged: "),
        // Every row can be read; only a comparison of index and table finds it.
        ("a value in an index", Box::new(|| flip(&database, value)), "the database is damaged: "),
        ("the schema", Box::new(|| flip(&database, 100)), "damaged"),
        // The package says from which schema it begins; nobody can tell it here, so no run begins.
        ("the header", Box::new(|| flip(&database, 0)), "schema of database shop: the database is damaged: "),
        (
            "a file that ends too soon",
            Box::new(|| {
                OpenOptions::new().write(true).open(&database).unwrap().set_len(whole.len() as u64 / 2).unwrap()
            }),
            "damaged",
        ),
        (
            "a file that ends within a page",
            Box::new(|| {
                OpenOptions::new().write(true).open(&database).unwrap().set_len(whole.len() as u64 - 100).unwrap()
            }),
            "damaged",
        ),
    ];
    for (what, damage, expected) in damages {
        damage();
        let damaged = digest(&database);
        let output = shop.backout(&["prepare", "--yes", &package(&shop)]);
        let said = format!("{}\n{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        println!("{what}: {said}");
        assert_eq!(output.status.code(), Some(3), "{what}: {said}");
        assert!(said.contains(expected), "{what}: {said}");
        assert!(said.contains("nothing was changed") || !said.contains("  run "), "{what}: {said}");
        assert_eq!(digest(&database), damaged, "{what}: it is not Backout's to mend");
        assert_eq!(shop.copies(), [""; 0], "{what}");
        OpenOptions::new().write(true).open(&database).unwrap().write_all_at(&whole, 0).unwrap();
    }
    assert_eq!(shop.version().as_deref(), Some("1.0.0"));
    // Wrong, and no damage: the copy is as right as what it was made of.
    let rule = "PRAGMA ignore_check_constraints = on; UPDATE products SET price = -1 WHERE id = 7";
    Connection::open(&database).unwrap().execute_batch(rule).unwrap();
    shop.expect(0, &["prepare", "--yes", &package(&shop)]);
}

/// A product that was upgraded, and what lies beside it.
struct Upgraded {
    shop: Shop,
    before: Proof,
    database: PathBuf,
    app: PathBuf,
}

fn upgraded() -> Upgraded {
    let shop = running(Version::V2Good);
    let before = shop.proof();
    shop.expect(0, &["upgrade", "--yes", &package(&shop)]);
    let database = shop.folder.path("srv/data/.backout/shop/1-shop/standby.db");
    let app = shop.folder.path("srv/.backout/tree.app/1-app/standby");
    assert!(database.is_file() && app.is_dir());
    Upgraded { shop, before, database, app }
}

impl Upgraded {
    /// Found before anything was stopped, let alone exchanged: 2.0.1 serves on, on its own data.
    #[track_caller]
    fn refused(&self, what: &str, expected: &str) {
        let live = |path: &str| self.shop.folder.path(path).metadata().unwrap().ino();
        let inodes = [live("srv/data/shop.db"), live("srv/app"), live("srv/config")];
        let said = self.shop.expect(3, &["rollback", "--yes"]);
        println!("{what}: {said}");
        assert!(said.contains("nothing was changed") && said.contains(expected), "{what}: {said}");
        assert!(said.contains("`backout restore-points` lists what else"), "{what}: {said}");
        assert_eq!(inodes, [live("srv/data/shop.db"), live("srv/app"), live("srv/config")], "{what}");
        assert_eq!(self.shop.version().as_deref(), Some("2.0.1"), "{what}");
    }

    #[track_caller]
    fn goes_back(&self) {
        self.shop.expect(0, &["rollback", "--yes"]);
        self.shop.is_as(&self.before);
    }
}

#[test]
fn a_copy_of_a_database_that_was_damaged_after_its_proof_is_found_while_the_product_serves() {
    let upgraded = upgraded();
    let copy = &upgraded.database;
    let whole = fs::read(copy).unwrap();
    let put_back = || fs::write(copy, &whole).unwrap();
    let other = upgraded.shop.folder.path("other.db");
    Connection::open(&other).unwrap().execute_batch("CREATE TABLE orders (id INTEGER PRIMARY KEY, note TEXT)").unwrap();

    flip(copy, leaf_page(copy, "items") + PAGE - 64);
    upgraded.refused("bytes flipped", "copy of database shop: ");
    put_back();
    OpenOptions::new().write(true).open(copy).unwrap().set_len(PAGE * 20).unwrap();
    upgraded.refused("cut off", "damaged");
    put_back();
    // With the time that it had: only the kernel's own time of the last change tells.
    let time = copy.metadata().unwrap().modified().unwrap();
    flip(copy, leaf_page(copy, "orders") + PAGE - 64);
    File::open(copy).unwrap().set_times(FileTimes::new().set_modified(time)).unwrap();
    upgraded.refused("bytes flipped, and the time set back", "copy of database shop: ");
    put_back();
    let connection = Connection::open(copy).unwrap();
    connection.execute_batch("PRAGMA wal_autocheckpoint = 0; UPDATE orders SET note = 'mine' WHERE id = 9").unwrap();
    upgraded.refused("a row changed, and in the WAL", "somebody has opened the copy and written to it");
    drop(connection);
    upgraded.refused("a row changed", "orders has other content");
    put_back();
    fs::copy(copy, copy.with_extension("kept")).unwrap();
    fs::rename(&other, copy).unwrap();
    upgraded.refused("another database in its place", "the copy no longer equals its proof");
    fs::remove_file(copy).unwrap();
    upgraded.refused("deleted", "the copy is gone");
    fs::rename(copy.with_extension("kept"), copy).unwrap();
    // Touched, written anew, even its proof lost: what it holds is what counts.
    fs::write(copy.with_file_name("proof.json"), "{}").unwrap();
    upgraded.goes_back();
}

#[test]
fn a_copy_of_a_tree_that_was_damaged_after_its_proof_is_found_while_the_product_serves() {
    let upgraded = upgraded();
    let app = &upgraded.app;
    let (template, link) = (app.join("versions/1.0/templates/page.html"), app.join("current"));
    let text = fs::read(&template).unwrap();
    let time = template.metadata().unwrap().modified().unwrap();
    let set_back = |path: &Path| File::open(path).unwrap().set_modified(time).unwrap();

    let mut other = text.clone();
    other[10] ^= 1;
    fs::write(&template, &other).unwrap();
    set_back(&template);
    upgraded.refused("other content, same size and time", "page.html");
    fs::write(&template, &text).unwrap();
    set_back(&template);

    let relink = |to: &str| {
        fs::remove_file(&link).unwrap();
        symlink(to, &link).unwrap();
    };
    relink("/etc");
    upgraded.refused("a link that leads elsewhere", "`current`");
    relink("versions/1.0");

    let mode = |bits| fs::set_permissions(&template, fs::Permissions::from_mode(bits)).unwrap();
    mode(0o666);
    upgraded.refused("other permissions", "page.html");
    mode(0o644);

    fs::write(app.join("versions/1.0/more"), "").unwrap();
    upgraded.refused("a file more", "versions/1.0/more");
    fs::remove_file(app.join("versions/1.0/more")).unwrap();

    fs::remove_file(&template).unwrap();
    upgraded.refused("a file less", "page.html");
    fs::write(&template, &text).unwrap();
    mode(0o644);

    let away = app.with_file_name("elsewhere");
    fs::rename(app, &away).unwrap();
    upgraded.refused("all of it gone", "the stand-by is not there any more");
    fs::rename(&away, app).unwrap();
    upgraded.goes_back_but_for_times();
}

impl Upgraded {
    /// Who puts files back by hand gives them new times; those of a link cannot be set by everybody.
    fn goes_back_but_for_times(&self) {
        self.shop.expect(0, &["rollback", "--yes"]);
        let differences = self.shop.proof().differences(&self.before);
        let times_alone = differences.iter().all(|line| {
            line.contains("page.html: was file") && {
                let (was, is) = line.split_once(", is ").unwrap();
                was.rsplit(' ').next() == is.rsplit(' ').next()
            }
        });
        assert!(times_alone, "{differences:?}");
        assert_eq!(self.shop.version().as_deref(), Some("1.0.0"));
    }
}

/// Damage that comes while 2.0 is watched: the rollback that follows by itself finds it.
#[test]
fn a_rollback_that_begins_by_itself_exchanges_no_damaged_copy() {
    let shop = running(Version::V2Bad);
    let before = shop.proof();
    let child = shop.spawn(&["upgrade", "--yes", &package(&shop)]);
    wait_for("upgrade/watch", || {
        let entries = Reader::open(&shop.folder.path("state/journal.db")).ok()?.entries(1).ok()?;
        entries.iter().any(|r| r.place.title() == "upgrade/watch" && r.entry == Entry::StepStarted).then_some(())
    });
    let copy = shop.folder.path("srv/data/.backout/shop/1-shop/standby.db");
    let whole = fs::read(&copy).unwrap();
    let at = leaf_page(&copy, "items") + PAGE - 64;
    flip(&copy, at);
    let live = shop.folder.database().metadata().unwrap().ino();
    let output = child.wait_with_output().unwrap();
    let said = format!("{}\n{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(5), "{said}");
    println!("{said}");
    assert!(said.contains("rollback/restore: ") && said.contains("what is live stays"), "{said}");
    assert_eq!(shop.folder.database().metadata().unwrap().ino(), live, "it was exchanged");
    // The same again, until the copy is whole: from a backup of one's own, say.
    let said = shop.expect(3, &["rollback", "--yes"]);
    assert!(said.contains("copy of database shop"), "{said}");
    fs::write(&copy, &whole).unwrap();
    shop.expect(0, &["rollback", "--yes"]);
    shop.is_as(&before);
}
