//! Copies in a repository, and what stays of them on the server.
use super::{
    copies::{all_that_is_declared_and_held_comes_back, copies_of},
    *,
};
use crate::support::restic::{Archives, PASSWORD, flip};
use backout::resource::{database::Method, repository::Repository};

struct Archived {
    shop: Shop,
    archives: Archives,
    access: Access<Database>,
    _folder: tempfile::TempDir,
}

fn by(shop: &Shop, method: Method) -> Access<Database> {
    let driver = Driver::Postgres(shop.server());
    drivers::open("shop", &Section { driver, keep_aside: Duration::ZERO, exclusive: true, method })
}

impl Archived {
    fn of(shop: Shop) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let archives = Archives::create(&folder.path().join("offsite"));
        let access = by(&shop, Method::Archive(archives.repository()));
        Self { shop, archives, access, _folder: folder }
    }
    /// What is left on the server: databases, roles, slots.
    fn left(&self) -> Vec<String> {
        let like = format!("backout\\_{}\\_%", self.shop.database);
        let ask = |sql: &str| SERVER.ask("postgres", sql);
        let mut left = ask(&format!("SELECT datname FROM pg_database WHERE datname LIKE '{like}'"));
        left.extend(ask(&format!("SELECT 'role ' || rolname FROM pg_roles WHERE rolname LIKE '{like}'")));
        left.extend(ask(&format!(
            "SELECT 'slot ' || slot_name FROM pg_replication_slots WHERE slot_name = '{}'",
            self.shop.slot("7-shop")
        )));
        left
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_that_is_declared_and_held_comes_back_from_a_repository() {
    let it = Archived::of(Shop::empty());
    all_that_is_declared_and_held_comes_back(&it.shop, it.access).await;
    assert_eq!(it.archives.tags(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_is_archived_and_nothing_big_stays() {
    let it = Archived::of(Shop::new());
    let (shop, access, archives) = (&it.shop, &it.access, &it.archives);
    let role = format!("role backout_{}_7-shop", shop.database);
    let taken = take(access).await;
    assert_eq!((taken.proven, &*taken.method, &*taken.detector, taken.copied), (true, "archive", "full compare", 3003));
    assert_eq!(it.left(), [role.as_str()], "a word stays on the server");
    assert_eq!(looks(access).repository().await.unwrap().as_deref(), Some("offsite"));
    assert_eq!(looks(access).fingerprint(&call()).await.unwrap(), taken.fingerprint);
    assert_eq!(looks(access).loss(&taken, &call()).await.unwrap(), []);
    archives.are_whole();
    let tag = format!("7-shop backout database.{} proven", shop.database);
    assert_eq!(archives.tags(), [tag.as_str()]);
    let dump = archives.restic(&["dump", "latest", &format!("/{}.dump", shop.database)]);
    assert!(dump.starts_with(b"PGDMP") && String::from_utf8_lossy(&dump).contains("note 777"));

    shop.sql("UPDATE orders SET note = 'late' WHERE id = 500");
    access.mutator.fence(Duration::ZERO, &call()).await.unwrap();
    let snapshot = changes(access).refresh(&taken, &call()).await.unwrap();
    access.mutator.unfence(&call()).await.unwrap();
    assert_eq!(snapshot.fingerprint, looks(access).fingerprint(&call()).await.unwrap());
    assert_eq!((archives.tags().len(), it.left()), (2, vec![role.clone()]));
    shop.sql("DELETE FROM items; INSERT INTO orders (id) VALUES (1001)");
    let loss = looks(access).loss(&snapshot, &call()).await.unwrap();
    assert!(loss.len() == 1 && loss[0].is_uncounted() && loss[0].part.contains("2 tables differ"), "{loss:?}");

    // Nothing is begun with what is damaged, away or another's.
    let seen = Arc::<Seen>::default();
    let packs = archives.files("data");
    packs.iter().for_each(|pack| flip(pack, 100));
    for failure in [
        looks(access).inspect(&snapshot, &call()).await.unwrap_err(),
        changes(access).exchange(&snapshot, &call_seen(&seen)).await.unwrap_err(),
    ] {
        assert!(failure.message.contains("repository `offsite`"), "{failure}");
    }
    packs.iter().for_each(|pack| flip(pack, 100));
    let wrong = by(shop, Method::Archive(Repository::new("offsite", &archives.at, format!("{PASSWORD}!"))));
    for (access, word) in
        [(&wrong, "password of repository `offsite` is wrong"), (&by(shop, Method::StandBy), "names none")]
    {
        for failure in [
            changes(access).exchange(&snapshot, &call_seen(&seen)).await.unwrap_err(),
            changes(access).discard(&snapshot, &call()).await.unwrap_err(),
        ] {
            assert!(failure.message.contains(word), "{failure}");
        }
    }
    let failure = changes(&wrong).take("8-shop", &call()).await.unwrap_err();
    assert!(failure.message.contains("password"), "{failure}");
    assert_eq!((seen.evidence.lock().unwrap().len(), it.left()), (0, vec![role.clone()]));

    for snapshot in [&taken, &snapshot] {
        looks(access).inspect(snapshot, &call()).await.unwrap();
    }
    let restored = changes(access).exchange(&snapshot, &call()).await.unwrap();
    let counted = lost_by(access, &snapshot, &restored).await;
    assert_eq!(counted, [lost("items", 0, 0, 2000), lost("orders", 1, 0, 0)]);
    assert_eq!(shop.ask("SELECT note FROM orders WHERE id = 500"), ["late"]);
    let aside = restored.aside.unwrap();
    assert_eq!(shop.ask_aside(&aside, "SELECT count(*) FROM orders"), ["1001"]);
    refused(shop, FailureKind::Conflict, changes(access).exchange(&snapshot, &call()).await);
    refused(shop, FailureKind::Conflict, changes(access).take("7-shop", &call()).await);
    changes(access).discard(&snapshot, &call()).await.unwrap();
    assert_eq!((archives.tags(), it.left()), (Vec::new(), Vec::new()));
    assert_eq!(changes(access).discard(&snapshot, &call()).await.unwrap(), 0);
    archives.are_whole();
    assert_eq!(shop.ask("SELECT count(*) FROM orders"), ["1000"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_given_up_over_an_archive_is_begun_again() {
    let it = Archived::of(Shop::new());
    let (shop, access) = (&it.shop, &it.access);
    for wait in [100, 400, 900] {
        let given_up = call();
        let _ = tokio::time::timeout(Duration::from_millis(wait), changes(access).take("7-shop", &given_up)).await;
        looks(access).quiet(&call()).await.unwrap();
    }
    let snapshot = take(access).await;
    shop.sql("DELETE FROM log");
    for wait in [150, 500] {
        let given_up = call();
        let exchange =
            tokio::time::timeout(Duration::from_millis(wait), changes(access).exchange(&snapshot, &given_up));
        if exchange.await.is_ok() {
            break;
        }
        looks(access).quiet(&call()).await.unwrap();
    }
    if shop.ask("SELECT count(*) FROM log") == ["0"] {
        changes(access).exchange(&snapshot, &call()).await.unwrap();
    }
    assert_eq!(shop.ask("SELECT count(*) FROM log"), ["3"]);
    assert_eq!(copies_of(shop), [format!("backout_{}_7-shop_aside", shop.database)]);
    changes(access).discard(&snapshot, &call()).await.unwrap();
    assert_eq!((it.archives.tags(), it.left()), (Vec::new(), Vec::new()));
}
