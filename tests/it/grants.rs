//! A package on a site: `inspect`, `check`, `allow`.
mod allow;

use crate::support::packages::{Folder, whole};
use expect_test::{Expect, expect};
use std::os::unix::fs::{PermissionsExt, symlink};

pub const SITE: &str = r#"# The shop's host.
[product.shop]
version = { link = "app:current" }

[database.shop-prod]   # the only one
driver = "sqlite"
path = "srv/shop.db"

[tree.app]
path = "srv/app"

[tree.etc]
path = "srv/etc"

[service.shop]
driver = "process"
run = ["srv/app/current/bin/shop"]
user = "shop"
uses = ["shop-prod", "app"]

[metrics.numbers]
driver = "page"
url = "http://localhost:8080/metrics"
queries.error-rate = "json:errors"
"#;

pub const GRANTS: &str = r#"
# Read by Ada on 3 May.
[allow."acme/shop"]
versions = "2.*"
database.orders = { is = "shop-prod", may = [ # all of it
    "read",
    "backup", # nightly
] }   # no fence yet
tree.app = { may = ["read", "backup", "restore", "write"] }

[allow."acme/shop".require]
settings.watch = "15m"   # Ada: ten are too few

[limits]
memory = "256MiB"
"#;

pub const MANIFEST: &str = r#"[package]
name = "acme/shop"
version = "2.0.0"
about = "Upgrades Shop 1.x to 2.0, and takes it back"
from = ">=1.4, <2"
script = "shop.wasm"
build = "cargo build --release"

[payload]
"shop-2.0" = "shop-2.0.tar.zst"

[settings]
watch = { type = "duration", default = "10m", max = "1h", about = "how long 2.0 is watched" }

[needs]
database.orders = { may = ["read", "backup", "restore", "fence"], why = "2.0 drops a column" }
tree.app = { may = ["backup", "restore", "write"], why = "the `current` link" }
service.shop = { may = ["control"], why = "stopped while the schema changes" }
metrics.shop = { may = ["read"], queries = ["error-rate"], optional = true, why = "2.0 goes back when it errs" }
"#;

fn host(site: &str) -> Folder {
    let folder = Folder::new();
    folder.write("backout.toml", site);
    folder.write("srv/shop.db", "");
    folder.folder("srv/etc");
    folder.write("srv/app/versions/1.4.2/bin/shop", "#!/bin/sh\n");
    std::fs::set_permissions(folder.at("srv/app/versions/1.4.2/bin/shop"), PermissionsExt::from_mode(0o755)).unwrap();
    symlink("versions/1.4.2", folder.at("srv/app/current")).unwrap();
    folder.write("shop/package.toml", MANIFEST);
    folder.write("shop/shop.wasm", whole());
    folder.write("shop/shop-2.0.tar.zst", "payload");
    folder
}

fn said(folder: &Folder, arguments: &[&str], expected: Expect) {
    expected.assert_eq(&folder.backout(arguments).whole());
}

#[test]
fn inspect_says_what_a_package_is_and_what_it_may_do_here() {
    let folder = host(&format!("{SITE}{GRANTS}"));
    said(
        &folder,
        &["inspect", "shop"],
        expect![[r#"
            acme/shop 2.0.0   Upgrades Shop 1.x to 2.0, and takes it back
              digest    sha256:c6520aa024958912e5e59e87e2c727f27a22224bb6edd53507dc8067b374b432
              size      580 B, script 573 B
              upgrades  >=1.4, <2  to 2.0.0; installed here: 1.4.2
              built by  cargo build --release

            It asks for                                      here                 because
              database orders  read backup                   granted (shop-prod)  2.0 drops a column
                               restore fence                 missing
              tree app         write backup restore          granted              the `current` link
              service shop     control                       missing              stopped while the schema changes
              metrics shop     read (error-rate) (optional)  not granted          2.0 goes back when it errs

            Settings, which the site may override:
              watch  10m  at most 1h  how long 2.0 is watched

            The script cannot: see files (except through tree app), open connections (except through metrics shop), run commands, read the environment or passwords, read the clock.
            Not sandboxed, as with any upgrade: the product itself (service shop), payload shop-2.0 7 B.
            It can call at most: backup, database, files, logs, metrics, notify, probe, service, tool.
              Not asked for, so in vain: notify, probe, tool.

            3 rights are missing. To grant, after reading why:  backout allow shop
            ── exit 0
        "#]],
    );
    std::fs::remove_file(folder.at("backout.toml")).unwrap();
    said(
        &folder,
        &["inspect", "shop/package.toml"],
        expect![[r#"
            acme/shop 2.0.0   Upgrades Shop 1.x to 2.0, and takes it back
              digest    sha256:c6520aa024958912e5e59e87e2c727f27a22224bb6edd53507dc8067b374b432
              size      580 B, script 573 B
              upgrades  >=1.4, <2  to 2.0.0
              built by  cargo build --release

            It asks for                                      because
              database orders  read backup restore fence     2.0 drops a column
              tree app         write backup restore          the `current` link
              service shop     control                       stopped while the schema changes
              metrics shop     read (error-rate) (optional)  2.0 goes back when it errs

            Settings, which the site may override:
              watch  10m  at most 1h  how long 2.0 is watched

            The script cannot: see files (except through tree app), open connections (except through metrics shop), run commands, read the environment or passwords, read the clock.
            Not sandboxed, as with any upgrade: the product itself (service shop), payload shop-2.0 7 B.
            It can call at most: backup, database, files, logs, metrics, notify, probe, service, tool.
              Not asked for, so in vain: notify, probe, tool.
            ── exit 0
        "#]],
    );
    let json: serde_json::Value = serde_json::from_str(&folder.backout(&["inspect", "shop", "--json"]).out).unwrap();
    assert_eq!(json["needs"][0]["rights"], serde_json::json!(["read", "backup", "restore", "fence"]));
    assert_eq!(json["site"], false);
}

#[test]
fn check_finds_everything_at_once() {
    let folder = host(SITE);
    said(
        &folder,
        &["check"],
        expect![[r#"
        backout.toml: in order
        ── exit 0
    "#]],
    );
    let folder = host(&format!("{SITE}{GRANTS}"));
    said(
        &folder,
        &["check", "shop"],
        expect![[r#"
            missing:
              database orders  restore fence  2.0 drops a column
              service shop     control        stopped while the schema changes

            granted, but never needed:
              backout.toml:33  tree app: read is granted, but never needed

            to know:
              shop/package.toml:19  metrics shop: read is optional, and not granted
              shop/package.toml:6   the script imports notify, probe, tool, but the package needs nothing that these work on

            acme/shop 2.0.0 on backout.toml: 3 rights missing (backout allow shop), 1 grant without need
            ── exit 3
        "#]],
    );
    // What the host lacks, what contradicts the package and what is missing come together.
    let grants = GRANTS.replace("15m", "2h").replace("2.*", "1.*").replace("settings.watch", "settings.wotch");
    let grants = grants.replace("tree.app", "tree.old = { is = \"etc\", may = [\"read\"] }\ntree.app");
    folder.write("backout.toml", format!("{SITE}{grants}"));
    std::fs::remove_file(folder.at("srv/shop.db")).unwrap();
    std::fs::remove_file(folder.at("srv/app/current")).unwrap();
    symlink("versions/1.2", folder.at("srv/app/current")).unwrap();
    said(
        &folder,
        &["check", "shop"],
        expect![[r#"
            backout.toml:5:11: database `shop-prod`: srv/shop.db: there is no such file
               |
             5 | [database.shop-prod]   # the only one
               |           ^^^^^^^^^

            backout.toml:15:10: service `shop`: srv/app/current/bin/shop: there is no such file
                |
             15 | [service.shop]
                |          ^^^^

            backout.toml:28:12: acme/shop is version 2.0.0, allowed is 1.*
                |
             28 | versions = "1.*"
                |            ^^^^^
                = read what the new version asks for (`backout inspect PACKAGE`), then change `versions`

            backout.toml:37:18: acme/shop has no setting `wotch`
                |
             37 | settings.wotch = "2h"   # Ada: ten are too few
                |                  ^^^^
                = did you mean `watch`?

            shop/package.toml:5:8: acme/shop 2.0.0 upgrades from >=1.4, <2, installed is 1.2
               |
             5 | from = ">=1.4, <2"
               |        ^^^^^^^^^^^
               = get the package for the version that is installed

            missing:
              database orders  restore fence  2.0 drops a column
              service shop     control        stopped while the schema changes

            granted, but never needed:
              backout.toml:33  tree old is granted, but acme/shop 2.0.0 needs no such thing
              backout.toml:34  tree app: read is granted, but never needed

            to know:
              shop/package.toml:19  metrics shop: read is optional, and not granted
              shop/package.toml:6   the script imports notify, probe, tool, but the package needs nothing that these work on

            acme/shop 2.0.0 on backout.toml: 5 mistakes, 3 rights missing (backout allow shop), 2 grants without need
            ── exit 3
        "#]],
    );
    // A mistake in each of the two files.
    folder.write("backout.toml", SITE.replace("path = \"srv/etc\"", "pth = \"srv/etc\""));
    folder.write("shop/package.toml", MANIFEST.replace("about =", "abuot ="));
    said(
        &folder,
        &["check", "shop"],
        expect![[r#"
        backout.toml:12:7: `tree.etc` has no `path`
            |
         12 | [tree.etc]
            |       ^^^
            = add `path = "…"`

        backout.toml:13:1: unknown key `pth` in `tree.etc`
            |
         13 | pth = "srv/etc"
            | ^^^
            = did you mean `path`?

        shop/package.toml:1:2: `package` has no `about`
           |
         1 | [package]
           |  ^^^^^^^
           = add `about = "what it does, in one line"`

        shop/package.toml:4:1: unknown key `abuot` in `package`
           |
         4 | abuot = "Upgrades Shop 1.x to 2.0, and takes it back"
           | ^^^^^
           = did you mean `about`?

        shop/package.toml:13:1: `settings.watch` has no `about`
            |
         13 | watch = { type = "duration", default = "10m", max = "1h", abuot = "how long 2.0 is watched" }
            | ^^^^^
            = add `about = "what it is for"`

        shop/package.toml:13:59: unknown key `abuot` in `settings.watch`
            |
         13 | …ch = { type = "duration", default = "10m", max = "1h", abuot = "how long 2.0 is watched" }
            |                                                         ^^^^^
            = did you mean `about`?

        backout.toml: 6 mistakes
        ── exit 3
    "#]],
    );
    let json: serde_json::Value = serde_json::from_str(&folder.backout(&["check", "shop", "--json"]).out).unwrap();
    assert_eq!(json["mistakes"][0]["line"], 12);
    assert_eq!(json["mistakes"][0]["hint"], "add `path = \"…\"`");
    said(
        &folder,
        &["check", "--site", "nowhere.toml"],
        expect![[r#"
        there is no site file nowhere.toml
          = `backout init` writes a first one; `--site FILE` names another

        nowhere.toml: 1 mistake
        ── exit 3
    "#]],
    );
}

#[test]
fn check_ends_with_10_for_a_grant_without_need_alone() {
    let folder = host(SITE);
    assert_eq!(folder.backout(&["allow", "--yes", "--optional", "shop"]).code, 0);
    assert_eq!(folder.backout(&["check", "shop"]).code, 0);
    let more = folder.read("backout.toml").replace("\"control\"", "\"control\", \"logs\"");
    folder.write("backout.toml", more);
    said(
        &folder,
        &["check", "shop"],
        expect![[r#"
            granted, but never needed:
              backout.toml:30  service shop: logs is granted, but never needed

            to know:
              shop/package.toml:6  the script imports notify, probe, tool, but the package needs nothing that these work on

            acme/shop 2.0.0 on backout.toml: 1 grant without need
            ── exit 10
        "#]],
    );
}
