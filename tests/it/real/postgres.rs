//! A database on PostgreSQL.
use super::{Data, Host};
use crate::support::{guests, postgres::SERVER, shop::Shop};
use serde_json::Value;
use std::{fs, os::unix::fs::PermissionsExt, process::Command};

pub struct Orders {
    /// More of what the site says of it.
    more: &'static str,
    database: String,
}

const MIGRATIONS: [&str; 2] = [include_str!("postgres/1.sql"), include_str!("postgres/2.sql")];

impl Orders {
    pub fn new() -> Self {
        let database = SERVER.database("shop");
        SERVER.sql("postgres", &format!("CREATE ROLE {database} LOGIN"));
        SERVER.sql("postgres", &format!("ALTER DATABASE {database} OWNER TO {database}"));
        let own = format!("SET ROLE {database};\n");
        SERVER.sql(&database, &format!("{own}{}", MIGRATIONS[0]));
        SERVER.sql(&database, &format!("{own}{}", include_str!("postgres/stock.sql")));
        // What belongs to the database and is in no table of it.
        for about in ["SET work_mem = '5MB'", "CONNECTION LIMIT 40"] {
            SERVER.sql("postgres", &format!("ALTER DATABASE {database} {about}"));
        }
        SERVER.sql("postgres", &format!("COMMENT ON DATABASE {database} IS 'orders of the shop'"));
        Self { more: "", database }
    }
    pub fn with(self, more: &'static str) -> Self {
        Self { more, ..self }
    }
}

impl Data for Orders {
    fn applies(&self) -> (&'static str, Command) {
        let mut psql = SERVER.tool("psql", &self.database);
        psql.args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-U", &self.database]);
        ("psql -X -q -d DATABASE -f 1-inserts.sql", psql)
    }
    fn migrations(&self) -> [&'static str; 2] {
        MIGRATIONS
    }
    fn section(&self) -> String {
        let folder = SERVER.folder().to_str().unwrap().replace('/', "%2F");
        let url = format!("postgresql://postgres@{folder}:{}/{}", SERVER.port, self.database);
        format!("driver = \"postgresql\"\nurl = \"{url}\"\nallow-superuser = true\n{}", self.more)
    }
    fn address(&self) -> String {
        format!("host={} port={} user={2} dbname={2}", SERVER.folder().display(), SERVER.port, self.database)
    }
    fn ask(&self, sql: &str) -> String {
        SERVER.ask(&self.database, sql).concat()
    }
    fn ask_aside(&self, sql: &str) -> String {
        let asides = SERVER.ask("postgres", "SELECT datname FROM pg_database WHERE datname LIKE 'backout\\_%\\_aside'");
        let kept = asides.iter().find(|aside| aside.contains(&self.database)).expect("what 2.0 wrote is not kept");
        SERVER.ask(kept, sql).concat()
    }
    fn dump(&self) -> String {
        let mut dump = SERVER.tool("pg_dump", &self.database);
        let output = dump.args(["--create", "--schema-only"]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8(output.stdout).unwrap();
        text.lines()
            .filter(|line| !line.starts_with("\\restrict") && !line.starts_with("\\unrestrict"))
            .collect::<Vec<_>>()
            .join("\n")
    }
}

/// Before the upgrade: what is planned and prepared says that the copy comes later, and why.
pub fn promised(shop: &Shop) {
    let package = shop.package();
    let package = package.to_str().unwrap();
    let planned = shop.expect(0, &["plan", package]);
    assert!(planned.contains("no copy yet, it is made and proven under the fence; `auto` takes clone"), "{planned}");
    assert!(planned.contains("a clone is made and compared, table by table"), "{planned}");
    let inspected = shop.expect(0, &["inspect", package]);
    assert!(inspected.contains("a stand-by, or a clone that is made under the fence"), "{inspected}");
    let checked = shop.expect(0, &["check", package]);
    assert!(checked.contains("copies of database shop: under the fence, `auto` takes clone"), "{checked}");
    let prepared = shop.expect(0, &["prepare", "--yes", package]);
    assert!(prepared.contains("1 to be made under the fence"), "{prepared}");
    let points = shop.expect(0, &["restore-points"]);
    assert!(points.contains("does not count as proven: it is made under the fence, and was not yet"), "{points}");
    shop.expect(0, &["commit", "--yes"]);
}

/// After it: the copy that was promised is the one that went live, and the run can be told again.
pub fn kept(host: &Host<Orders>) {
    let report = fs::read_to_string(host.shop.folder.path("state/runs/3/report.md")).unwrap();
    assert!(report.contains("All copies are of one moment."), "{report}");
    assert!(
        report.contains("file copy, full compare") && report.contains("takes clone: copying and comparing"),
        "{report}"
    );
    host.shop.expect(0, &["replay", "3"]);
}

/// A tool works on the copy in earnest, and what it has done goes again; nobody sees anything of it in what is live.
#[test]
fn an_upgrade_is_rehearsed_on_a_copy() {
    let host = Host::new(Orders::new(), guests::rust_shop());
    let (shop, database) = (&host.shop, &host.data.database);
    let copy = format!("backout_rehearsal_{database}");
    let program = |name: &str, text: &str| {
        let path = shop.folder.path(&format!("srv/{name}"));
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    };
    let live = fs::read_to_string(shop.folder.path("srv/runtime")).unwrap();
    program("runtime-of-twin", &live.replace(&format!("dbname={database}"), &format!("dbname={copy}")));
    shop.edit_site("[tool.migrate]", "[tool.migrate]\nrehearse = \"twin\"");
    let root = if rustix::process::geteuid().is_root() { "allow-root = true\n" } else { "" };
    let twin = format!(
        "\n[tool.twin]\nrun = [\"state/rehearsal/trees/app/current/bin/shop\", \"migrate\", \"--config\", \"state/rehearsal/trees/config/shop.toml\"]\n\
         env = {{ SHOP_RUNTIME = \"{}\" }}\n{root}",
        shop.folder.path("srv/runtime-of-twin").display()
    );
    fs::write(shop.site(), fs::read_to_string(shop.site()).unwrap() + &twin).unwrap();
    let held = || (host.data.dump(), host.data.ask("SELECT md5(string_agg(o::text, '' ORDER BY id)) FROM orders o"));
    let before = held();
    let package = shop.package();
    // What a rehearsal that was killed has left, and what only looks like it.
    let unborn = "TEMPLATE template0 ALLOW_CONNECTIONS false CONNECTION LIMIT 0";
    SERVER.sql("postgres", &format!("CREATE DATABASE {copy} {unborn}"));
    let others = SERVER.database("backout_rehearsal_of_somebody");
    let output = shop.backout(&["rehearse", "--json", package.to_str().unwrap()]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{said}\n{}", String::from_utf8_lossy(&output.stdout));
    let came: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((came["findings"].as_array().unwrap().len(), &came["twins"]), (0, &serde_json::json!(["tool:migrate"])));
    assert_eq!(came["rollback"]["outcome"], "rolled-back");
    assert!(came["room"]["copies"]["database:shop"].as_u64().unwrap() > 1 << 20, "{came}");
    assert_eq!(held(), before);
    let left =
        || SERVER.ask("postgres", &format!("SELECT datname FROM pg_database WHERE datname LIKE 'backout%{database}%'"));
    assert_eq!(left(), [""; 0]);
    let named = format!("SELECT count(*) FROM pg_database WHERE datname = '{others}'");
    assert_eq!(SERVER.ask("postgres", &named), ["1"]);
    // A twin that fails has done it on the copy, which is gone as well.
    let folder = SERVER.folder().display();
    let psql =
        format!("psql -X -q -h {folder} -p {} -U postgres -d {copy} -c 'CREATE TABLE left_over (a INT)'", SERVER.port);
    program("runtime-of-twin", &format!("#!/bin/sh\n{psql} && touch {}\nexit 1\n", shop.folder.path("done").display()));
    let output = shop.backout(&["rehearse", "--json", package.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(10), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(shop.folder.path("done").exists(), "the twin has not worked on the copy");
    assert_eq!((left(), held()), (Vec::new(), before));
}
