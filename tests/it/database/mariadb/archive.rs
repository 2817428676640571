//! Copies in a repository, as statements.
use super::{
    exchange::{AROUND, UPGRADE, is_back},
    *,
};
use crate::support::restic::{Archives, PASSWORD, flip};
use backout::resource::{database::Method, repository::Repository};

fn by(shop: &Shop, method: Method) -> Access<Database> {
    let driver = Driver::MariaDb(shop.server());
    drivers::open("shop", &Section { driver, keep_aside: Duration::ZERO, exclusive: true, method })
}

/// What is left on the server: databases, and what is written down.
fn left(shop: &Shop) -> Vec<String> {
    let mut left = SERVER.ask("", &format!("SHOW DATABASES LIKE 'backout\\_{}\\_%'", shop.database));
    for table in ["copies", "archives"] {
        let sql = format!("SELECT '{table}' FROM backout.{table} WHERE of = '{}'", shop.database);
        left.extend(SERVER.ask("", &sql));
    }
    left
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn statements_in_a_repository_make_the_database_again() {
    let (shop, folder) = (Shop::new(), tempfile::tempdir().unwrap());
    let archives = Archives::create(&folder.path().join("offsite"));
    shop.sql(AROUND);
    shop.sql(
        "CREATE TABLE kinds (id INT PRIMARY KEY, f FLOAT, b BIT(64), e ENUM('a', 'ü') CHARACTER SET latin1, bl LONGBLOB, j JSON,
            u UUID, g GEOMETRY, u16 VARCHAR(20) CHARACTER SET utf16, ts TIMESTAMP NULL, v INT AS (id * 2) VIRTUAL);
         INSERT INTO kinds (id, f, b, e, bl, j, u, g, u16, ts) VALUES
            (1, 1.1, 18446744073709551615, 'ü', X'00FF27225C0A3B0A2D2D2035310A', '{\"a\": [1, null]}',
             '123e4567-e89b-12d3-a456-426655440000', ST_GeomFromText('POINT(1 2)', 4326), 'ä€', '2024-06-01 12:00:00'),
            (2, -0.0, NULL, NULL, REPEAT(X'C33B0A', 1000000), NULL, NULL, NULL, '', NULL);
         CREATE TABLE computed (a INT AS (1) VIRTUAL); INSERT INTO computed VALUES (), ()",
    );
    SERVER.sql(&format!(
        "CREATE USER caller_{0}@localhost; GRANT EXECUTE ON PROCEDURE {0}.tidy TO caller_{0}@localhost",
        shop.database
    ));
    let access = by(&shop, Method::Archive(archives.repository()));
    // Given up in the middle.
    for wait in [100, 500] {
        let given_up = call();
        let _ = tokio::time::timeout(Duration::from_millis(wait), changes(&access).take("7-shop", &given_up)).await;
        looks(&access).quiet(&call()).await.unwrap();
    }
    let taken = take(&access).await;
    assert_eq!((taken.proven, &*taken.method, &*taken.detector), (true, "archive", "full compare"));
    assert_eq!(taken.fingerprint, looks(&access).fingerprint(&call()).await.unwrap());
    assert_eq!(left(&shop), ["archives"], "a word stays on the server");
    let tags = archives.tags();
    assert!(tags.iter().any(|tags| tags.contains("proven")), "{tags:?}");
    archives.are_whole();
    let dump = archives.restic(&["dump", "--tag", "proven", "latest", &format!("/{}.sql", shop.database)]);
    assert!(dump.starts_with(b"-- ") && String::from_utf8_lossy(&dump).contains("'note 777'"));
    // The server's own client reads it.
    SERVER.sql(&format!("CREATE DATABASE other_{}", shop.database));
    let mut client = SERVER.client("root", &format!("other_{}", shop.database));
    let mut child = client.stdin(std::process::Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(&dump).unwrap();
    assert!(child.wait().unwrap().success());
    let same = format!(
        "SELECT COUNT(*) FROM (SELECT * FROM {0}.kinds EXCEPT ALL SELECT * FROM other_{0}.kinds) x",
        shop.database
    );
    assert_eq!(SERVER.ask("", &same), ["0"]);
    SERVER.sql(&format!("DROP DATABASE other_{}", shop.database));

    shop.sql("UPDATE orders SET note = 'late' WHERE id = 500");
    let snapshot = changes(&access).refresh(&taken, &call()).await.unwrap();
    assert_eq!(snapshot.fingerprint, looks(&access).fingerprint(&call()).await.unwrap());
    assert_eq!(looks(&access).loss(&snapshot, &call()).await.unwrap(), []);
    for snapshot in [&taken, &snapshot] {
        looks(&access).inspect(snapshot, &call()).await.unwrap();
    }
    shop.sql(UPGRADE);
    let loss = looks(&access).loss(&snapshot, &call()).await.unwrap();
    assert!(loss.len() == 1 && loss[0].is_uncounted(), "{loss:?}");

    // Nothing is begun with what is damaged, or another's.
    let seen = Arc::<Seen>::default();
    let packs = archives.files("data");
    packs.iter().for_each(|pack| flip(pack, 100));
    let damaged = [
        looks(&access).inspect(&snapshot, &call()).await.unwrap_err(),
        changes(&access).exchange(&snapshot, &call_seen(&seen)).await.unwrap_err(),
    ];
    packs.iter().for_each(|pack| flip(pack, 100));
    assert!(damaged.iter().all(|failure| failure.message.contains("repository `offsite`")), "{damaged:?}");
    let wrong = by(&shop, Method::Archive(Repository::new("offsite", &archives.at, format!("{PASSWORD}!"))));
    for (access, word) in
        [(&wrong, "password of repository `offsite` is wrong"), (&by(&shop, Method::StandBy), "names none")]
    {
        for failure in [
            changes(access).exchange(&snapshot, &call_seen(&seen)).await.unwrap_err(),
            changes(access).discard(&snapshot, &call()).await.unwrap_err(),
        ] {
            assert!(failure.message.contains(word), "{failure}");
        }
    }
    assert_eq!((seen.evidence.lock().unwrap().len(), left(&shop)), (0, vec!["archives".to_owned()]));

    let exchange = call();
    let _ = tokio::time::timeout(Duration::from_millis(100), changes(&access).exchange(&snapshot, &exchange)).await;
    looks(&access).quiet(&call()).await.unwrap();
    let restored = changes(&access).exchange(&snapshot, &call()).await.unwrap();
    assert_eq!(looks(&access).fingerprint(&call()).await.unwrap(), snapshot.fingerprint);
    assert_eq!(shop.ask("SELECT note FROM orders WHERE id = 500"), ["late"]);
    assert_eq!(shop.ask("SELECT v FROM kinds WHERE e = 'ü'"), ["2"]);
    let aside = restored.aside.unwrap();
    assert_eq!(SERVER.ask(&aside, "SELECT name FROM parents WHERE id = 500"), ["late"]);
    refused(&shop, FailureKind::Conflict, changes(&access).exchange(&snapshot, &call()).await);
    changes(&access).discard(&snapshot, &call()).await.unwrap();
    assert_eq!((archives.tags(), left(&shop)), (Vec::new(), Vec::new()));
    assert_eq!(changes(&access).discard(&snapshot, &call()).await.unwrap(), 0);
    shop.sql("DROP TABLE kinds, computed");
    is_back(&shop);
}
