//! The section of the site, and the commands that look at the server.
use super::*;
use crate::support::{command::backout, packages::Folder};
use backout::site::Site;
use expect_test::{Expect, expect};
use std::os::unix::fs::PermissionsExt;

fn refused(keys: &str, expected: Expect) {
    let folder = Folder::new();
    folder.write("backout.toml", format!("[database.shop]\ndriver = \"postgresql\"\n{keys}\n"));
    let mistakes = Site::load(&folder.at("backout.toml")).expect_err("the site was read");
    expected.assert_eq(&folder.plain(&mistakes.to_string()));
}

#[test]
fn an_address_is_read() {
    let folder = Folder::new();
    folder.write("secrets/shop", "hunter2\n");
    std::fs::set_permissions(folder.at("secrets/shop"), std::fs::Permissions::from_mode(0o600)).unwrap();
    let read = |keys: &str| {
        folder.write("backout.toml", format!("[database.shop]\ndriver = \"postgresql\"\n{keys}\n"));
        let site = Site::load(&folder.at("backout.toml")).unwrap_or_else(|mistakes| panic!("{mistakes}"));
        assert!(!format!("{:?}", site.databases).contains("hunter2"));
        let Driver::Postgres(server) = site.databases["shop"].driver.clone() else { panic!() };
        server
    };
    let server = read(
        "url = \"postgresql://backout@db.example:6543/shop?sslmode=verify-full\"\n\
         password = { file = \"secrets/shop\" }\nfence-roles = [\"shop\", \"cron\"]",
    );
    let expected = Server {
        host: Host::Name("db.example".into()),
        port: 6543,
        user: "backout".into(),
        password: Some("hunter2".into()),
        database: "shop".into(),
        tls: Tls::VerifyFull,
        fence_roles: vec!["shop".into(), "cron".into()],
        allow_superuser: false,
        around: Around::default(),
        tools: None,
    };
    assert!(server == expected, "{server:?}");
    let around = read(
        "url = \"postgresql://backout@db.example/shop\"\npassword = { file = \"secrets/shop\" }\nleave-behind = [\"debezium\"]\n\
         replicas = [\"postgresql://backout@other.example/shop\"]\n\
         pooler = { pause = [\"bin/pause\", \"shop\"], resume = [\"/bin/resume\"], timeout = \"5s\" }",
    )
    .around;
    assert_eq!(around.leave_behind, ["debezium"]);
    let [replica] = around.replicas.as_slice() else { panic!("{around:?}") };
    assert_eq!(
        (&replica.host, replica.password.as_deref()),
        (&Host::Name("other.example".into()), Some("hunter2")),
        "by the same password"
    );
    let pooler = around.pooler.unwrap();
    assert_eq!((pooler.timeout, &*pooler.resume), (Duration::from_secs(5), &["/bin/resume".to_owned()][..]));
    assert_eq!(pooler.pause, [folder.at("bin/pause").to_str().unwrap(), "shop"]);
    let server = read("url = \"postgresql://postgres@%2Frun%2Fpostgresql/the%20shop\"");
    assert_eq!((server.host, server.port), (Host::Socket("/run/postgresql".into()), 5432));
    assert_eq!((&*server.database, server.tls, server.password), ("the shop", Tls::Prefer, None));
}

#[test]
fn a_wrong_address_is_said_in_one_line() {
    refused(
        "url = \"postgresql://backout:hunter2@db/shop\"",
        expect![[r#"
        backout.toml:3:7: `database.shop.url` has a password in it
           |
         3 | url = "postgresql://backout:hunter2@db/shop"
           |       ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
           = say it apart: `password = { file = "secrets/…" }`"#]],
    );
    refused(
        "url = \"postgresql://backout@db/shop?password=hunter2\"",
        expect![[r#"
        backout.toml:3:7: `database.shop.url` has a password in it
           |
         3 | url = "postgresql://backout@db/shop?password=hunter2"
           |       ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
           = say it apart: `password = { file = "secrets/…" }`"#]],
    );
    refused(
        "url = \"postgresql://backout@db/shop?sslmode=allow\"\npassword = \"hunter2\"",
        expect![[r#"
        backout.toml:3:7: `database.shop.url` has an `sslmode` that is not known
           |
         3 | url = "postgresql://backout@db/shop?sslmode=allow"
           |       ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
           = one of `disable`, `prefer`, `require`, `verify-full`

        backout.toml:4:12: `database.shop.password` holds a secret, and the site file holds none
           |
         4 | password = "hunter2"
           |            ^^^^^^^^^
           = write `{ file = "secrets/name" }` or `{ env = "NAME" }`"#]],
    );
    refused(
        "url = \"mysql://backout@db/shop\"",
        expect![[r#"
        backout.toml:3:7: `database.shop.url` is no address of a PostgreSQL database
           |
         3 | url = "mysql://backout@db/shop"
           |       ^^^^^^^^^^^^^^^^^^^^^^^^^
           = write `postgresql://user@host:5432/name`"#]],
    );
    refused(
        "url = \"postgresql://db/shop\"",
        expect![[r#"
        backout.toml:3:7: `database.shop.url` names no user
           |
         3 | url = "postgresql://db/shop"
           |       ^^^^^^^^^^^^^^^^^^^^^^
           = write `postgresql://user@host:5432/name`"#]],
    );
    refused(
        "url = \"postgresql://backout@/shop\"",
        expect![[r#"
        backout.toml:3:7: `database.shop.url` names no host
           |
         3 | url = "postgresql://backout@/shop"
           |       ^^^^^^^^^^^^^^^^^^^^^^^^^^^^
           = a socket's folder is written with `%2F` for each `/`: `postgresql://user@%2Frun%2Fpostgresql/name`"#]],
    );
    refused(
        "url = \"postgresql://backout@db\"",
        expect![[r#"
        backout.toml:3:7: `database.shop.url` names no database
           |
         3 | url = "postgresql://backout@db"
           |       ^^^^^^^^^^^^^^^^^^^^^^^^^
           = write `postgresql://user@host:5432/name`"#]],
    );
    refused(
        "url = \"postgresql://backout@one,two/shop\"",
        expect![[r#"
        backout.toml:3:7: `database.shop.url` names more than one host
           |
         3 | url = "postgresql://backout@one,two/shop"
           |       ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
           = name the server itself: a copy of it cannot take its place"#]],
    );
    refused(
        "url = \"postgresql://backout@db/shop\"\nreplicas = [\"postgresql://backout@two/other\"]",
        expect![[r#"
        backout.toml:4:13: a replica of another database
           |
         4 | replicas = ["postgresql://backout@two/other"]
           |             ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
           = a replica has the databases of its server, under the same names"#]],
    );
    refused(
        "url = \"postgresql://backout@db/postgres\"\npath = \"shop.db\"",
        expect![[r#"
        backout.toml:3:7: `database.shop.url` names the database `postgres`
           |
         3 | url = "postgresql://backout@db/postgres"
           |       ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
           = it is the server's own, and no product's; give the product a database of its own

        backout.toml:4:1: unknown key `path` in `database.shop`
           |
         4 | path = "shop.db"
           | ^^^^
           = there are `keep-aside`, `exclusive`, `method`, `window`, `driver`, `url`, `password`, `fence-roles`, `allow-superuser`, `tools`, `leave-behind`, `pooler`, `replicas`, `repository`"#]],
    );
    refused(
        "url = \"postgresql://backout@db/shop\"\nmethod = \"copy\"",
        expect![[r#"
        backout.toml:4:10: `database.shop.method` cannot be `copy`
           |
         4 | method = "copy"
           |          ^^^^^^
           = there are `stand-by`, `archive`, `clone`, `auto`"#]],
    );
    refused(
        "url = \"postgresql://backout@db/shop\"\nmethod = \"clone\"\nwindow = \"5m\"",
        expect![[r#"
        backout.toml:5:10: `database.shop.window` is of no meaning without `method = "auto"`
           |
         5 | window = "5m"
           |          ^^^^
           = say the method, or leave it out"#]],
    );
    refused(
        "",
        expect![[r#"
        backout.toml:1:11: `database.shop` has no `url`
           |
         1 | [database.shop]
           |           ^^^^
           = add `url = "postgresql://user@host:5432/name"`"#]],
    );
    refused(
        "url = \"postgresql://backout@db/shop\"\n[database.same]\ndriver = \"postgresql\"\nurl = \"postgresql://other@db:5432/shop\"",
        expect![[r#"
            backout.toml:1:11: database `shop` is the same as database `same`
               |
             1 | [database.shop]
               |           ^^^^
               = keep one of them: a thing has one name on a site"#]],
    );
}

/// A site file for it, with every right.
fn site(shop: &Shop, user: &str) -> Folder {
    site_with(shop, user, "allow-superuser = true")
}

fn site_with(shop: &Shop, user: &str, more: &str) -> Folder {
    let folder = Folder::new();
    let socket = SERVER.folder().display().to_string().replace('/', "%2F");
    folder.write(
        "backout.toml",
        format!(
            "[database.shop]\ndriver = \"postgresql\"\nurl = \"postgresql://{user}@{socket}:{}/{}\"\nfence-roles = [\"{ROLE}\"]\n{more}\n\
             [allow.\"acme/shop\"]\n\
             database.shop = {{ may = [\"read\", \"write\", \"backup\", \"restore\", \"fence\"] }}\n",
            SERVER.port, shop.database
        ),
    );
    folder
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unfence_needs_no_run() {
    let shop = Shop::new();
    shop.access(true).mutator.fence(Duration::ZERO, &call()).await.unwrap();
    assert!(!shop.may_connect());
    let folder = site(&shop, "postgres");
    let ended = backout(&folder.at(""), &["unfence"], Duration::from_secs(60));
    assert_eq!(ended.code, Some(0), "{}", ended.text);
    assert!(ended.text.contains("lifted the fence of shop"), "{}", ended.text);
    assert!(shop.may_connect());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_script_says_nothing_as_a_superuser_unless_the_site_lets_it() {
    let shop = Shop::new();
    let access = shop.access_by(Server { allow_superuser: false, ..shop.server() });
    let read = "SELECT pg_read_file('postgresql.conf')";
    let ran = "COPY log TO PROGRAM 'cat'";
    for refused in [
        access.observer.query(read, &call()).await.unwrap_err(),
        access.observer.query("SELECT 1", &call()).await.unwrap_err(),
        access.mutator.execute(ran, &call()).await.unwrap_err(),
    ] {
        assert!(refused.kind == FailureKind::Denied && refused.message.contains("superuser"), "{refused}");
    }
    // A user who is none may, and cannot do that.
    let access = shop.access_by(Server { allow_superuser: false, user: ROLE.into(), ..shop.server() });
    assert_eq!(access.observer.query("SELECT count(*) FROM orders", &call()).await.unwrap(), [["1000"]]);
    assert_eq!(access.observer.query(read, &call()).await.unwrap_err().kind, FailureKind::Denied);
    assert_eq!(access.mutator.execute(ran, &call()).await.unwrap_err().kind, FailureKind::Denied);
    let folder = site_with(&shop, "postgres", "");
    let ended = backout(&folder.at(""), &["check"], Duration::from_secs(60));
    assert!(ended.code == Some(3) && ended.text.contains("allow-superuser = true"), "{}", ended.text);
}

#[test]
fn check_names_what_has_to_be_granted() {
    let shop = Shop::new();
    let folder = site(&shop, "postgres");
    let ended = backout(&folder.at(""), &["check"], Duration::from_secs(60));
    assert_eq!(ended.code, Some(0), "{}", ended.text);
    let user = format!("little_{}", shop.database);
    SERVER.sql("postgres", &format!("CREATE ROLE {user} LOGIN"));
    let folder = site(&shop, &user);
    let check = || backout(&folder.at(""), &["check"], Duration::from_secs(60));
    let ended = check();
    assert_eq!(ended.code, Some(3), "{}", ended.text);
    let grants: Vec<&str> = ended.text.lines().filter_map(|line| line.trim().strip_prefix("= ")).collect();
    assert!(grants.contains(&&*format!("GRANT pg_read_all_data TO \"{user}\";")), "{}", ended.text);
    // Whoever says these is let in: each is a whole statement, and nothing is missing then.
    for grant in &grants {
        SERVER.sql("postgres", grant);
    }
    let ended = check();
    assert_eq!(ended.code, Some(0), "{}", ended.text);
    SERVER.sql(
        "postgres",
        &format!(
            "REVOKE SET ON PARAMETER backout.fence FROM {user}; ALTER DATABASE {} OWNER TO postgres",
            shop.database
        ),
    );
    SERVER.sql(&shop.database, &format!("DROP OWNED BY {user}"));
    SERVER.sql("postgres", &format!("DROP ROLE {user}"));
    let folder = site(&Shop { database: "no_such_database".into(), on: &SERVER }, "postgres");
    let ended = backout(&folder.at(""), &["check"], Duration::from_secs(60));
    assert!(ended.code == Some(3) && ended.text.contains("the server has no such database"), "{}", ended.text);
}
