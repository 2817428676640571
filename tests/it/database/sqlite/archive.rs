//! Copies in a repository, read by restic as well, and brought back from it.
use super::*;
use crate::support::{
    disk::{Disk, with_mounts},
    files::files_below,
    restic::{Archives, PASSWORD, cut, flip as flip_bit},
};
use backout::resource::{database::Method, repository::Repository};
use std::fs;

pub struct Shop {
    inner: super::Shop,
    archives: Archives,
    repository: Repository,
}

impl Shop {
    pub fn new(mode: &'static str) -> Self {
        let inner = super::Shop::new(mode);
        // Never beside the database: what is there is looked at.
        let archives = Archives::create(&inner.folder.path().join("mounted/offsite"));
        // Its key is found once.
        let repository = archives.repository();
        Self { inner, archives, repository }
    }
    fn by(&self, method: Method, exclusive: bool) -> Access<Database> {
        let driver = Driver::Sqlite { path: self.inner.path() };
        drivers::open("shop", &Section { driver, keep_aside: Duration::ZERO, exclusive, method })
    }
    fn beside(&self) -> Vec<PathBuf> {
        let home = self.inner.home();
        if home.exists() { files_below(&home) } else { Vec::new() }
    }
    fn mark(&self) -> PathBuf {
        self.inner.home().join("7-shop/mark")
    }
}

#[async_trait]
impl Product for Shop {
    fn access(&self, exclusive: bool) -> Access<Database> {
        self.by(Method::Archive(self.repository.clone()), exclusive)
    }
    fn may_connect(&self) -> bool {
        self.inner.may_connect()
    }
    fn sql(&self, sql: &str) {
        self.inner.sql(sql);
    }
    fn ask(&self, sql: &str) -> Vec<String> {
        self.inner.ask(sql)
    }
    fn connected(&self) -> Connected {
        self.inner.connected()
    }
    fn busy(&self) -> Busy {
        self.inner.busy()
    }
    fn damage(&self, _: &Snapshot) {
        self.archives.files("data").iter().for_each(|pack| flip_bit(pack, 100));
    }
    fn ask_aside(&self, aside: &str, sql: &str) -> Vec<String> {
        self.inner.ask_aside(aside, sql)
    }
    fn secret(&self) -> String {
        self.inner.secret()
    }
    fn method(&self) -> &'static str {
        "archive"
    }
}

#[tokio::test]
async fn an_archived_database_comes_back_equal_and_restic_reads_it() {
    let shop = Shop::new("wal");
    let (access, path) = (shop.access(true), shop.inner.path());
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    rustix::fs::setxattr(&path, "user.origin", b"vendor", rustix::fs::XattrFlags::empty()).unwrap();
    shop.sql("CREATE TABLE noise (a BLOB); INSERT INTO noise VALUES (randomblob(24000000))");
    let taken = take(&access).await;
    assert_eq!((taken.proven, taken.method.as_str(), taken.copied), (true, "archive", 3004));
    assert_eq!(shop.beside(), [shop.mark()], "nothing but a word stays beside the database");
    assert_eq!(looks(&access).fingerprint(&call()).await.unwrap(), taken.fingerprint);
    assert_eq!(looks(&access).repository().await.unwrap().as_deref(), Some("offsite"));

    shop.archives.are_whole();
    assert_eq!(shop.archives.tags(), ["7-shop backout database.shop proven"]);
    let dumped = shop.inner.folder.path().join("dumped.db");
    fs::write(&dumped, shop.archives.restic(&["dump", "latest", "/shop.db"])).unwrap();
    assert_eq!(ask_file(&dumped, "PRAGMA integrity_check"), ["ok"]);
    assert_eq!(ask_file(&dumped, "SELECT count(*) FROM orders"), ["1000"]);

    // Little is new, and little is written.
    let size = |archives: &Archives| archives.files("data").iter().map(|f| f.metadata().unwrap().len()).sum::<u64>();
    let before = size(&shop.archives);
    shop.sql("UPDATE orders SET note = 'late' WHERE id = 500");
    fence(&access).await;
    let snapshot = changes(&access).refresh(&taken, &call()).await.unwrap();
    assert!(size(&shop.archives) - before < 12_000_000, "the rest is there already");
    access.mutator.unfence(&call()).await.unwrap();
    for snapshot in [&taken, &snapshot] {
        looks(&access).inspect(snapshot, &call()).await.unwrap();
    }

    // As an upgrade leaves it.
    shop.sql("DELETE FROM items; INSERT INTO orders (id) VALUES (1001)");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    let loss = looks(&access).loss(&snapshot, &call()).await.unwrap();
    assert_eq!(loss, [lost("items", 0, 0, 2000), lost("orders", 1, 0, 0)]);
    assert_eq!(shop.beside(), [shop.mark()], "what was looked at is gone");
    let restored = changes(&access).exchange(&snapshot, &call()).await.unwrap();
    assert_eq!((restored.exchanged, &restored.lost), (true, &loss));
    assert_eq!(shop.ask("SELECT note FROM orders WHERE id = 500"), ["late"]);
    assert_eq!(path.metadata().unwrap().mode() & 0o777, 0o640);
    let mut origin = [0; 6];
    rustix::fs::getxattr(&path, "user.origin", &mut origin[..]).unwrap();
    assert_eq!(&origin, b"vendor");
    assert_eq!(shop.ask_aside(&restored.aside.unwrap(), "SELECT count(*) FROM orders"), ["1001"]);
    let sheets = shop.inner.folder.path().join("sheets");
    fs::create_dir(&sheets).unwrap();
    let salvaged = access.observer.salvage(&snapshot, &sheets, &call()).await.unwrap();
    assert_eq!(salvaged.tables.iter().map(|table| table.table.as_str()).collect::<Vec<_>>(), ["items", "orders"]);

    changes(&access).discard(&snapshot, &call()).await.unwrap();
    assert_eq!((shop.archives.tags(), shop.beside()), (Vec::new(), Vec::new()));
    shop.archives.are_whole();
    assert_eq!(shop.ask("SELECT count(*) FROM orders"), ["1000"]);
    assert_eq!(changes(&access).discard(&snapshot, &call()).await.unwrap(), 0);
}

#[tokio::test]
async fn damage_in_the_repository_is_found_before_the_database_is_touched() {
    let shop = Shop::new("delete");
    let access = shop.access(true);
    let snapshot = take(&access).await;
    shop.sql("DELETE FROM log");
    let whole = shop.inner.folder.path().join("whole");
    let copy =
        |from: &Path, to: &Path| assert!(Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap().success());
    copy(&shop.archives.at, &whole);
    type Damage = fn(&Archives);
    let damages: [(&str, Damage); 4] = [
        ("flipped in a pack", |a| a.files("data").iter().for_each(|pack| flip_bit(pack, 100))),
        ("packs missing", |a| a.files("data").iter().for_each(|pack| fs::remove_file(pack).unwrap())),
        ("index cut off", |a| a.files("index").iter().for_each(|index| cut(index, 40))),
        ("snapshot flipped", |a| a.files("snapshots").iter().for_each(|file| flip_bit(file, 30))),
    ];
    for (what, damage) in damages {
        damage(&shop.archives);
        let (seen, copies) = (Arc::<Seen>::default(), changes(&access));
        let failures = [
            looks(&access).inspect(&snapshot, &call()).await.unwrap_err(),
            looks(&access).loss(&snapshot, &call()).await.unwrap_err(),
            copies.exchange(&snapshot, &call_seen(&seen)).await.unwrap_err(),
        ];
        for failure in failures {
            assert!(failure.message.contains("repository `offsite`"), "{what}: {failure}");
            assert!(!failure.message.contains(&shop.secret()), "{what}: scripts hear no paths: {failure}");
        }
        assert_eq!(seen.evidence.lock().unwrap().len(), 0, "{what}");
        assert_eq!(shop.ask("SELECT count(*) FROM log"), ["0"], "{what}");
        assert_eq!(shop.beside(), [shop.mark()], "{what}");
        fs::remove_dir_all(&shop.archives.at).unwrap();
        copy(&whole, &shop.archives.at);
    }
    // Another archive in its place, whole in itself, is not the one that was proven.
    let other = changes(&access).take("8-shop", &call()).await.unwrap();
    let wrong = Snapshot { place: other.place.clone(), ..snapshot.clone() };
    let message = refused(&shop, FailureKind::Unproven, changes(&access).exchange(&wrong, &call()).await);
    assert!(message.contains("something else than when it was proven"), "{message}");
    changes(&access).exchange(&snapshot, &call()).await.unwrap();
    assert_eq!(shop.ask("SELECT count(*) FROM log"), ["3"]);
}

#[tokio::test]
async fn a_repository_that_cannot_be_used_is_named_for_a_database() {
    let shop = Shop::new("wal");
    let access = shop.access(true);
    let snapshot = take(&access).await;
    shop.sql("DELETE FROM log");
    let says = |failure: Failure, word: &str| assert!(failure.message.contains(word), "{failure}");
    let wrong = shop.by(Method::Archive(Repository::new("offsite", &shop.archives.at, "wrong".into())), true);
    let empty = shop.inner.folder.path().join("mounted/empty");
    fs::create_dir(&empty).unwrap();
    let away = shop.by(Method::Archive(Repository::new("offsite", &empty, PASSWORD.into())), true);
    for (access, word) in [(&wrong, "password of repository `offsite` is wrong"), (&away, "there is no repository")] {
        says(changes(access).take("8-shop", &call()).await.unwrap_err(), word);
        says(looks(access).inspect(&snapshot, &call()).await.unwrap_err(), word);
        says(changes(access).exchange(&snapshot, &call()).await.unwrap_err(), word);
        says(changes(access).discard(&snapshot, &call()).await.unwrap_err(), word);
    }
    // The site names none any more.
    let none = shop.by(Method::StandBy, true);
    says(changes(&none).exchange(&snapshot, &call()).await.unwrap_err(), "the site names none");
    says(changes(&none).discard(&snapshot, &call()).await.unwrap_err(), "the site names none");
    assert_eq!(shop.beside(), [shop.mark()], "nothing is left of what was refused");
    assert_eq!(shop.ask("SELECT count(*) FROM log"), ["0"]);
    // As a kill leaves a restore: without a proof, so nothing of it is believed.
    fs::write(shop.inner.home().join("7-shop/standby.db"), "half").unwrap();
    looks(&access).inspect(&snapshot, &call()).await.unwrap();
    // What an upgrade has deleted comes back too.
    fs::remove_file(shop.inner.path()).unwrap();
    for side in ["-wal", "-shm"] {
        let _ = fs::remove_file(shop.inner.side(side));
    }
    changes(&access).exchange(&snapshot, &call()).await.unwrap();
    assert_eq!(shop.ask("SELECT count(*) FROM log"), ["3"]);
}

#[test]
fn full_disks_on_either_side_of_a_database() {
    with_mounts("database::sqlite::archive::full_disks_on_either_side_of_a_database", || {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(full_disks());
    });
}

async fn full_disks() {
    let folder = tempfile::tempdir().unwrap();
    let (home, archives) = (folder.path().join("home"), Archives { at: folder.path().join("offsite") });
    let database_disk = Disk::under(&home, "size=32m");
    let disk = Disk::under(&archives.at, "size=16m");
    archives.repository().create().unwrap();
    let path = home.join("shop.db");
    let sql = "CREATE TABLE noise (a BLOB); INSERT INTO noise VALUES (randomblob(6000000))";
    Connection::open(&path).unwrap().execute_batch(sql).unwrap();
    let driver = Driver::Sqlite { path: path.clone() };
    let method = Method::Archive(archives.repository());
    let access = drivers::open("shop", &Section { driver, keep_aside: Duration::ZERO, exclusive: true, method });
    disk.fill(2 << 20);
    let failure = changes(&access).take("7-shop", &call()).await.unwrap_err();
    assert!(failure.message.contains("no room left in repository `offsite`"), "{failure}");
    assert!(!home.join(".backout").exists());
    disk.free();
    assert_eq!(archives.tags(), [""; 0]);
    let snapshot = take(&access).await;
    archives.are_whole();
    Connection::open(&path).unwrap().execute_batch("DELETE FROM noise").unwrap();
    database_disk.fill(3 << 20);
    let lost = looks(&access).loss(&snapshot, &call()).await.unwrap();
    assert!(lost[0].is_uncounted(), "{lost:?}");
    let failure = changes(&access).exchange(&snapshot, &call()).await.unwrap_err();
    assert!(failure.message.contains("what comes back from the archive needs"), "{failure}");
    database_disk.free();
    changes(&access).exchange(&snapshot, &call()).await.unwrap();
    assert_eq!(ask_file(&path, "SELECT count(*) FROM noise"), ["1"]);
}
