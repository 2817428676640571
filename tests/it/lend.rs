//! What a package is lent: needs ∩ grants, under the package's labels.
use crate::support::packages::{Folder, whole};
use backout::{
    package::Package,
    resource::{ResourceId, Right, Rights},
    site::Site,
};
use expect_test::expect;

const SITE: &str = r#"
[database.shop-prod]
driver = "sqlite"
path = "srv/shop.db"

[tree.app]
path = "srv/app"

[tree.etc]
path = "srv/etc"

[service.web]
driver = "process"
run = ["sleep", "60"]
uses = ["shop-prod", "app"]

[metrics.web]
driver = "process"
service = "web"

[metrics.page]
driver = "page"
url = "http://localhost:8080/metrics"
queries.errors = "json:errors"
queries.p95 = "json:p95"

[probe.web]
url = "http://localhost:8080"

[tool.migrate]
run = ["true"]
timeout = "5m"
idempotent = true
uses = ["shop-prod"]

[allow."acme/shop"]
database.orders = { is = "shop-prod", may = ["read", "backup"] }
tree.files = { is = "app", may = ["read", "backup", "write"] }
tree.again = { is = "app", may = ["read"] }
service.web = { may = ["control"] }
metrics.shop = { is = "page", may = ["read"] }
metrics.own = { is = "web", may = ["read"] }
tool.migrate = { may = ["run"] }
"#;

const NEEDS: &str = r#"[package]
name = "acme/shop"
version = "2.0.0"
about = "x"
script = "s.wasm"
[needs]
database.orders = { may = ["read"], why = "x" }
tree.files = { may = ["read", "backup"], why = "x" }
tree.again = { may = ["read"], why = "x" }
service.web = { may = ["control"], why = "x" }
metrics.shop = { may = ["read"], queries = ["errors"], why = "x" }
metrics.own = { may = ["read"], why = "x" }
probe.web = { may = ["get"], optional = true, why = "x" }
tool.migrate = { may = ["run"], why = "x" }
"#;

fn host() -> Folder {
    let folder = Folder::new();
    folder.write("backout.toml", SITE);
    folder.write("srv/app/versions/1.0/x", "");
    std::os::unix::fs::symlink("versions/1.0", folder.at("srv/app/current")).unwrap();
    folder.write("package/package.toml", NEEDS);
    folder.write("package/s.wasm", whole());
    folder
}

fn both(folder: &Folder) -> (Site, Package) {
    let site = Site::load(&folder.at("backout.toml")).unwrap_or_else(|e| panic!("{e}"));
    (site, Package::open(&folder.at("package")).unwrap_or_else(|e| panic!("{e}")))
}

#[tokio::test]
async fn a_package_is_lent_what_it_needs_and_is_granted_and_no_more() {
    let folder = host();
    let (site, package) = both(&folder);
    let lent = site.lend(&package).unwrap_or_else(|e| panic!("{e}"));

    let orders = &lent.database.0["orders"];
    assert_eq!(orders.id, ResourceId::new("database", "shop-prod"));
    assert_eq!(orders.rights, Rights::from_iter([Right::Read]), "`backup` is granted, but not needed");
    assert_eq!(lent.tree.0["files"].rights, Rights::from_iter([Right::Read, Right::Backup]));
    assert!(!lent.tree.0.contains_key("app") && !lent.tree.0.contains_key("etc"));
    let uses = [ResourceId::new("database", "shop-prod"), ResourceId::new("tree", "app")];
    assert_eq!(lent.service.0["web"].uses, uses);
    assert_eq!(lent.metrics.0["shop"].terms.queries, ["errors"]);
    let migrate = &lent.tool.0["migrate"];
    assert!(migrate.terms.idempotent);
    assert_eq!(migrate.terms.timeout.as_secs(), 300);
    assert_eq!(migrate.uses, uses[..1]);
    assert!(lent.probe.0.is_empty(), "optional and not granted");
    assert!(lent.run.0.is_empty());

    // Two labels of one resource lead to the site's tree.
    for label in ["files", "again"] {
        assert!(lent.tree.0[label].access.observer.linked("current", "versions/1.0").await.unwrap());
    }
}

#[test]
fn what_is_missing_is_told_and_nothing_is_lent() {
    let folder = host();
    folder.write(
        "package/package.toml",
        NEEDS.replace("\"get\"], optional = true", "\"get\"]").replace("[\"read\", \"backup\"]", "[\"restore\"]"),
    );
    let (site, package) = both(&folder);
    let Err(mistakes) = site.lend(&package) else { panic!("it was lent") };
    expect![[r#"
        package/package.toml:8:6: tree files: restore is not granted to acme/shop: x
           |
         8 | tree.files = { may = ["restore"], why = "x" }
           |      ^^^^^

        package/package.toml:13:7: probe web: get is not granted to acme/shop: x
            |
         13 | probe.web = { may = ["get"], why = "x" }
            |       ^^^
            = to grant it, after reading why: backout allow package"#]]
    .assert_eq(&folder.plain(&mistakes.to_string()));
    folder.write("package/package.toml", NEEDS.replace("2.0.0", "3.0.0"));
    folder.write("backout.toml", SITE.replace("[allow.\"acme/shop\"]", "[allow.\"acme/shop\"]\nversions = \"2.*\""));
    let (site, package) = both(&folder);
    let Err(mistakes) = site.lend(&package) else { panic!("another version was lent") };
    assert!(mistakes.to_string().contains("acme/shop is version 3.0.0, allowed is 2.*"), "{mistakes}");
}

#[test]
fn the_operators_own_commands_have_everything_under_the_sites_names() {
    let folder = host();
    let (site, _) = both(&folder);
    let all = site.everything().unwrap_or_else(|e| panic!("{e}"));
    assert!(all.database.0["shop-prod"].rights.contains(Right::Restore));
    assert_eq!(all.tree.0.keys().collect::<Vec<_>>(), ["app", "etc"]);
    assert_eq!(all.metrics.0["page"].terms.queries, ["errors", "p95"]);
    assert_eq!(all.service.0["web"].uses.len(), 2);
    assert!(all.probe.0.contains_key("web") && all.tool.0.contains_key("migrate"));
}
