//! What other commands may do to a product between two versions, and to each other: its fence is theirs to keep, its copies are the
//! way out.
use crate::support::{bench::PATIENCE, call::call, guests, shop::Shop, terminal::Terminal};
use backout::{
    cli::demo::{proof::Proof, releases::Version},
    resource::{Access, Database, database},
    site::Site,
};
use rusqlite::Connection;
use std::{
    fs::{self, File},
    path::Path,
};

/// An upgrade failed under its fence, and so did its rollback. The file keeps the tree of the program from being exchanged.
fn half_way() -> (Shop, Proof, File) {
    let shop = Shop::running(Version::V2Good);
    let (mine, program) = (shop.folder.path("srv/app/versions/2.0/mine.txt"), shop.folder.path("srv/app/versions/1.0"));
    fs::create_dir_all(mine.parent().unwrap()).unwrap();
    fs::write(mine, "in the way of what is to be installed there").unwrap();
    let before = shop.proof();
    let holder = File::open(program).unwrap();
    let said = shop.expect(5, &["upgrade", "--yes", shop.package().to_str().unwrap()]);
    assert!(said.contains("upgrade/install") && said.contains("database shop: fenced"), "{said}");
    assert!(is_fenced(&shop));
    (shop, before, holder)
}

fn is_fenced(shop: &Shop) -> bool {
    shop.folder.database().is_dir()
}

/// A command, its question answered with no.
#[track_caller]
fn declined(shop: &Shop, command: &str) {
    let mut terminal = Terminal::backout(&shop.folder.root, command);
    terminal.shows("[y/N]");
    terminal.types("n");
    let (shown, code) = terminal.ends();
    assert_eq!(code, 3, "{shown}");
    assert!(shown.contains("refused, nothing was changed: declined"), "{shown}");
}

#[test]
fn a_run_that_changes_nothing_leaves_the_fence_that_an_earlier_one_kept() {
    let (shop, before, holder) = half_way();
    declined(&shop, "rollback");
    assert!(is_fenced(&shop));
    let said = shop.expect(3, &["rollback"]);
    assert!(said.contains("no terminal"), "{said}");
    assert!(said.contains("database shop is fenced, as an earlier run left it"), "{said}");
    assert!(is_fenced(&shop));
    shop.expect(10, &["verify"]);
    assert!(is_fenced(&shop));
    shop.expect(3, &["assess", shop.package().to_str().unwrap()]);
    assert!(is_fenced(&shop));
    // Refused, because a copy is not what it was.
    let copies = shop.copies();
    let copy = copies.iter().find(|path| path.contains("/tree.app/")).unwrap_or_else(|| panic!("{copies:?}"));
    let stranger = Path::new(copy).join("stranger");
    fs::write(&stranger, "").unwrap();
    shop.expect(3, &["rollback", "--yes"]);
    assert!(is_fenced(&shop));
    fs::remove_file(stranger).unwrap();
    drop(holder);
    shop.expect(0, &["rollback", "--yes"]);
    assert!(!is_fenced(&shop));
    shop.is_as(&before);
}

/// A site for the script that forgets its fence, and what happens meanwhile on this host.
pub fn forgetful(meanwhile: &str) -> (Shop, String) {
    let shop = Shop::new(Version::V2Good);
    let package = shop.folder.path("packages/forgetful");
    guests::forgetful().copy_to(&package);
    let site = fs::read_to_string(shop.site()).unwrap();
    let more = format!(
        r#"
[tool.meanwhile]
run = ["sh", "-c", "{meanwhile}"]

[allow."test/forgetful"]
database.orders = {{ is = "shop", may = ["backup", "restore", "fence"] }}
tree.config = {{ may = ["backup", "restore", "write"] }}
tool.meanwhile = {{ may = ["run"] }}
"#
    );
    fs::write(shop.site(), site + &more).unwrap();
    (shop, package.to_str().unwrap().to_owned())
}

fn orders(database: &Path) -> i64 {
    let connection = Connection::open_with_flags(database, rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    connection.query_row("SELECT count(*) FROM orders", [], |row| row.get(0)).unwrap()
}

#[test]
fn a_fence_that_a_script_forgot_is_lifted_when_its_run_ends() {
    let (shop, package) = forgetful("test -d srv/data/shop.db");
    let database = shop.folder.database();
    let count = orders(&database);
    let said = shop.expect(0, &["upgrade", "--yes", &package]);
    assert!(said.contains("lifted the fence of shop"), "{said}");
    assert_eq!(orders(&database), count);
    shop.expect(0, &["commit", "--yes"]);
    // Also one whose folder somebody has removed: nobody else would know where the database is.
    shop.edit_site("test -d srv/data/shop.db", "rm -r srv/data/shop.db");
    let said = shop.expect(0, &["upgrade", "--yes", &package]);
    assert!(said.contains("lifted the fence of shop"), "{said}");
    assert_eq!(orders(&database), count);
    shop.expect(0, &["commit", "--yes"]);
    // An upgrade that goes back by itself ends well too.
    shop.edit_site("rm -r srv/data/shop.db", "exit 1");
    shop.expect(4, &["upgrade", "--yes", &package]);
    assert_eq!(orders(&database), count);
}

#[test]
fn no_run_ends_well_while_something_lies_where_the_database_was() {
    let (shop, package) = forgetful("rm -r srv/data/shop.db && echo mine > srv/data/shop.db");
    let database = shop.folder.database();
    let count = orders(&database);
    let said = shop.expect(5, &["upgrade", "--yes", &package]);
    assert!(said.contains("a fence could not be lifted") && said.contains("somebody put a file"), "{said}");
    let said = shop.expect(5, &["unfence"]);
    assert!(!said.contains("no database was fenced") && !said.contains("no database is fenced"), "{said}");
    fs::remove_file(&database).unwrap();
    shop.expect(0, &["unfence"]);
    assert_eq!(orders(&database), count);
}

fn access(shop: &Shop, name: &str) -> Access<Database> {
    let site = Site::load(&shop.site()).unwrap();
    database::drivers::open(name, &site.databases[name])
}

fn fence(shop: &Shop, names: &[&str]) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    for name in names {
        runtime.block_on(access(shop, name).mutator.fence(PATIENCE, &call("test/fence", PATIENCE))).unwrap();
    }
}

#[test]
fn unfence_finds_what_is_hidden_tells_every_failure_and_helps_the_others() {
    let shop = Shop::new(Version::V2Good);
    let (first, second) = (shop.folder.database(), shop.folder.path("srv/stock/warehouse.db"));
    let count = orders(&first);
    fs::create_dir_all(second.parent().unwrap()).unwrap();
    Connection::open(&second).unwrap().execute_batch("CREATE TABLE orders (id INTEGER PRIMARY KEY)").unwrap();
    let site = fs::read_to_string(shop.site()).unwrap();
    let more = "\n[database.warehouse]\ndriver = \"sqlite\"\npath = \"srv/stock/warehouse.db\"\n";
    fs::write(shop.site(), site + more).unwrap();
    // Somebody tidied up: the next start of the product would make an empty database.
    fence(&shop, &["shop", "warehouse"]);
    fs::remove_dir_all(&first).unwrap();
    let said = shop.expect(0, &["unfence"]);
    assert!(said.contains("lifted the fence of shop, warehouse"), "{said}");
    assert_eq!((orders(&first), orders(&second)), (count, 0));
    // And it did.
    fence(&shop, &["shop", "warehouse"]);
    fs::remove_dir_all(&first).unwrap();
    fs::write(&first, "").unwrap();
    let said = shop.expect(5, &["unfence"]);
    assert!(said.contains("lifted the fence of warehouse"), "{said}");
    assert!(said.contains("database shop: somebody put a file"), "{said}");
    assert!(said.contains("backout unfence"), "{said}");
    assert_eq!(orders(&second), 0);
    // Nothing that could be lifted, and yet not all is well.
    let said = shop.expect(5, &["unfence"]);
    assert!(!said.contains("no database was fenced"), "{said}");
    fs::remove_file(&first).unwrap();
    let said = shop.expect(0, &["unfence"]);
    assert!(said.contains("lifted the fence of shop"), "{said}");
    assert_eq!(orders(&first), count);
}

#[test]
fn nobody_takes_the_copies_while_somebody_thinks_and_the_other_way_round() {
    let (shop, package) = forgetful("true");
    let database = shop.folder.database();
    let count = orders(&database);
    shop.expect(0, &["upgrade", "--yes", &package]);
    let copies = shop.copies();
    for (asked, other) in [("commit", "rollback"), ("rollback", "commit")] {
        let mut terminal = Terminal::backout(&shop.folder.root, asked);
        terminal.shows("[y/N]");
        let said = shop.expect(3, &[other, "--yes"]);
        assert!(said.contains("is held by run "), "{said}");
        terminal.types("n");
        let (shown, code) = terminal.ends();
        assert_eq!(code, 3, "{shown}");
        assert!(shown.contains("nothing was changed: declined"), "{shown}");
        assert_eq!(shop.copies(), copies, "{asked}");
    }
    // None of them stands in the way of what is done for good.
    let mut terminal = Terminal::backout(&shop.folder.root, "commit");
    terminal.shows("[y/N]");
    terminal.types("y");
    let (shown, code) = terminal.ends();
    assert_eq!(code, 0, "{shown}");
    assert_eq!(shop.copies(), [""; 0]);
    assert_eq!(orders(&database), count);
}

#[test]
fn what_is_gone_from_the_site_is_named_before_anything_begins() {
    let (shop, package) = forgetful("true");
    let note = shop.folder.path("srv/config/note.txt");
    shop.expect(0, &["upgrade", "--yes", &package]);
    assert!(note.exists());
    let site = fs::read_to_string(shop.site()).unwrap();
    // The grant alone: the rollback would leave the tree out without a word.
    shop.edit_site("tree.config = { may = [\"backup\", \"restore\", \"write\"] }\n", "");
    let said = shop.expect(3, &["rollback", "--yes"]);
    assert!(said.contains("tree config was changed, and is not granted to test/forgetful any more"), "{said}");
    // And the section.
    for line in [
        "[tree.config]\npath = \"srv/config\"\n",
        "tree.config     = { may = [\"read\", \"backup\", \"restore\", \"write\"] }\n",
    ] {
        shop.edit_site(line, "");
    }
    let said = shop.expect(3, &["rollback", "--yes"]);
    assert!(said.contains("tree config was changed, and is not in the site any more"), "{said}");
    assert!(said.contains("put `[tree.config]` back"), "{said}");
    assert!(note.exists());
    // What a commit can free, it frees; what it cannot, it names first.
    let mut terminal = Terminal::backout(&shop.folder.root, "commit");
    let shown = terminal.shows("[y/N]");
    assert!(shown.contains("Not those of tree config") && shown.contains("put `[tree.config]` back"), "{shown}");
    terminal.types("n");
    assert_eq!(terminal.ends().1, 3);
    // With it, all is as it was.
    fs::write(shop.site(), site).unwrap();
    shop.expect(0, &["rollback", "--yes"]);
    assert!(!note.exists());
}
