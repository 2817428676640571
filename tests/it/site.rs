//! Sites: what is read, what is refused and in which words.
use crate::support::packages::{Folder, whole};
use backout::{package::Package, site::Site};
use expect_test::{Expect, expect};
use proptest::prelude::*;

const SITE: &str = r#"[site]
state = "state"

[product.shop]
version = { link = "shop-app:current" }

[database.shop-prod]
driver = "sqlite"
path = "srv/shop.db"

[tree.shop-app]
path = "srv/shop"
exclude = ["uploads", "**/*.log"]

[service.shop]
driver = "process"
run = ["srv/shop/current/bin/shop", "serve"]
dir = "srv"
env = { PORT = "8080", KEY = { file = "secrets/key" } }
user = "shop"
uses = ["shop-prod", "shop-app"]

[metrics.prom]
driver = "page"
url = "http://localhost:8080/metrics"
queries.error-rate = "ratio:json:errors / json:requests"
queries.p95 = 'prometheus:seconds{quantile="0.95"}'

[metrics.here]
driver = "host"

[metrics.self]
driver = "process"
service = "shop"

[probe.shop]
url = "http://localhost:8080"
load = { clients = 50, time = "1m" }

[tool.shop-migrate]
run = ["srv/shop/current/bin/shop", "migrate"]
user = "shop"
timeout = "10m"
idempotent = true
uses = ["shop-prod"]

[limits]
memory = "256MiB"

[allow."acme/shop"]
versions = "2.*"
database.orders = { is = "shop-prod", may = ["read", "backup", "restore", "fence"] }
tree.app = { is = "shop-app", may = ["backup", "restore", "write"] }
service.shop = { may = ["control"] }
metrics.shop = { is = "prom", may = ["read"] }
tool.migrate = { is = "shop-migrate", may = ["run"] }

[allow."acme/shop".require]
max-risk = "high"
settings.watch = "15m"
"#;

fn host() -> Folder {
    let folder = Folder::new();
    folder.write("backout.toml", SITE);
    folder.write("secrets/key", "sesame\n");
    permit(&folder, "secrets/key", 0o600);
    folder.write("secrets/open", "sesame\n");
    folder.write("srv/shop.db", "");
    folder.folder("srv/shop/versions/1.4.2");
    std::os::unix::fs::symlink("versions/1.4.2", folder.at("srv/shop/current")).unwrap();
    folder
}

fn permit(folder: &Folder, path: &str, mode: u32) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(folder.at(path), std::fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn a_site_is_what_its_file_says() {
    let folder = host();
    let site = Site::load(&folder.at("backout.toml")).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(site.installed_version().unwrap().as_deref(), Some("1.4.2"));
    let shown = format!("{:#?}", (&site.databases, &site.trees, &site.services, &site.metrics));
    let shown = shown + &format!("{:#?}", (&site.probes, &site.tools, &site.limits, &site.state));
    expect![[r#"
        (
            {
                "shop-prod": Section {
                    driver: Sqlite {
                        path: "srv/shop.db",
                    },
                    keep_aside: 1209600s,
                    exclusive: true,
                },
            },
            {
                "shop-app": Section {
                    path: "srv/shop",
                    exclude: [
                        "uploads",
                        "**/*.log",
                    ],
                    keep_aside: 1209600s,
                    exclusive: true,
                },
            },
            {
                "shop": Section {
                    driver: Process(
                        Process {
                            run: [
                                "srv/shop/current/bin/shop",
                                "serve",
                            ],
                            dir: "srv",
                            env: {
                                "KEY": "sesame",
                                "PORT": "8080",
                            },
                            user: Some(
                                "shop",
                            ),
                            settle: 1s,
                            stop_within: 10s,
                            reload: None,
                            log_bytes: 10485760,
                            log_keep: 5,
                        },
                    ),
                    uses: [
                        ResourceId {
                            kind: "database",
                            name: "shop-prod",
                        },
                        ResourceId {
                            kind: "tree",
                            name: "shop-app",
                        },
                    ],
                },
            },
            {
                "here": Section {
                    driver: Host {
                        disk: "state",
                    },
                },
                "prom": Section {
                    driver: Page {
                        url: "http://localhost:8080/metrics",
                        timeout: 5s,
                        queries: {
                            "error-rate": Ratio(
                                Json(
                                    JsonPath {
                                        segments: [
                                            "errors",
                                        ],
                                    },
                                ),
                                Json(
                                    JsonPath {
                                        segments: [
                                            "requests",
                                        ],
                                    },
                                ),
                            ),
                            "p95": Prometheus(
                                Selector {
                                    name: "seconds",
                                    matchers: [
                                        Matcher {
                                            label: "quantile",
                                            equal: true,
                                            value: "0.95",
                                        },
                                    ],
                                },
                            ),
                        },
                    },
                },
                "self": Section {
                    driver: Process {
                        service: "shop",
                    },
                },
            },
        )(
            {
                "shop": Section {
                    url: "http://localhost:8080",
                    headers: [],
                    timeout: 10s,
                    load: Some(
                        Load {
                            clients: 50,
                            time: 60s,
                        },
                    ),
                },
            },
            {
                "shop-migrate": Section {
                    run: [
                        "srv/shop/current/bin/shop",
                        "migrate",
                    ],
                    dir: ".",
                    env: {},
                    user: Some(
                        "shop",
                    ),
                    timeout: 600s,
                    idempotent: true,
                    uses: [
                        ResourceId {
                            kind: "database",
                            name: "shop-prod",
                        },
                    ],
                },
            },
            Limits {
                memory: Some(
                    268435456,
                ),
                cpu: None,
                time: None,
                host_calls: None,
                log_bytes: None,
                store_bytes: None,
            },
            "state",
        )"#]]
    .assert_eq(&folder.plain(&shown));
}

/// What `load` says about a site file.
fn refused(site: &str, expected: Expect) {
    let folder = host();
    folder.write("backout.toml", site);
    let mistakes = Site::load(&folder.at("backout.toml")).expect_err("the site was read");
    expected.assert_eq(&folder.plain(&mistakes.to_string()));
}

#[test]
fn every_mistake_of_a_site_is_found_at_once() {
    refused(
        r#"[site]
sate = "state"

[product.shop]
version = { link = "shop-ap:current" }

[product.web]

[database.shop-prod]
driver = "sqllite"
path = "srv/shop.db"

[database.orders]
driver = "sqlite"
keep-aside = "a while"

[database.one]
driver = "sqlite"
path = "srv/one.db"

[database.two]
driver = "sqlite"
path = "srv/../srv/one.db"

[tree.shop-app]
path = "srv/shop"
exclude = ["/uploads", "../x"]

[tree.all]
path = "."
exclusive = false

[service.shop]
run = []
uses = ["shop-prd", "shop-app"]

[service.web]
driver = "process"
run = ["srv/shop/bin/web"]
env = { KEY = { file = "secrets/open" }, GONE = { file = "secrets/gone" }, OTHER = { envi = "X" } }
reload = "KILL"
log = { bytes = "1 mb", keep = -1 }

[metrics.prom]
driver = "page"
url = "http://user:pass@localhost/metrics"
queries.p95 = "p95"

[metrics.self]
driver = "process"
service = "wbe"

[probe.shop]
url = "localhost:8080"
load = { clients = 0, time = 60 }

[tool.migrate]
run = ["srv/shop/current/bin/shop", "migrate"]
user = "root"

[limits]
memory = "1TiB"
cpu = "0s"
calls = 5

[allow.shop]
versions = "2.*"

[allow."acme/shop"]
versions = "two"
database.orders = { is = "order", may = ["read"] }
database.tow = { may = ["read", "run"] }
tree.app = { is = "all", may = ["restore"] }
tree.code = { is = "shop-app", may = ["write"] }
probe.shop = { may = ["load"] }
channel.ops = { may = ["send"] }

[allow."acme/shop".require]
max-risk = "huge"
rehearsed-within = "7d"
settings.watch = []
"#,
        expect![[r#"
            backout.toml:2:1: unknown key `sate` in `site`
               |
             2 | sate = "state"
               | ^^^^
               = did you mean `state`?

            backout.toml:5:20: there is no tree `shop-ap`
               |
             5 | version = { link = "shop-ap:current" }
               |                    ^^^^^^^^^^^^^^^^^
               = did you mean `shop-app`?

            backout.toml:7:10: `web` is a second product
               |
             7 | [product.web]
               |          ^^^
               = a site file is for one product: give each one a file of its own

            backout.toml:10:10: `database.shop-prod.driver` cannot be `sqllite`
                |
             10 | driver = "sqllite"
                |          ^^^^^^^^^
                = did you mean `sqlite`?

            backout.toml:13:11: `database.orders` has no `path`
                |
             13 | [database.orders]
                |           ^^^^^^
                = add `path = "…"`

            backout.toml:15:14: `database.orders.keep-aside`: a length of time is a number with a unit: `500ms`, `30s`, `10m`, `1h30m`, `14d`
                |
             15 | keep-aside = "a while"
                |              ^^^^^^^^^

            backout.toml:17:11: database `one` lies in tree `all`
                |
             17 | [database.one]
                |           ^^^
                = name it in `exclude` of tree `all`, so that each is exchanged by itself

            backout.toml:21:11: database `two` is the same place as database `one`
                |
             21 | [database.two]
                |           ^^^
                = keep one of them: a thing has one name on a site

            backout.toml:21:11: database `two` lies in tree `all`
                |
             21 | [database.two]
                |           ^^^
                = name it in `exclude` of tree `all`, so that each is exchanged by itself

            backout.toml:25:7: tree `shop-app` lies in tree `all`
                |
             25 | [tree.shop-app]
                |       ^^^^^^^^
                = name it in `exclude` of tree `all`, so that each is exchanged by itself

            backout.toml:27:12: `/uploads` is no path inside the tree
                |
             27 | exclude = ["/uploads", "../x"]
                |            ^^^^^^^^^^
                = write paths from the tree's top, with `*` and `**`: `uploads`, `**/*.log`

            backout.toml:27:24: `../x` is no path inside the tree
                |
             27 | exclude = ["/uploads", "../x"]
                |                        ^^^^^^
                = write paths from the tree's top, with `*` and `**`: `uploads`, `**/*.log`

            backout.toml:29:7: Backout's state state lies in tree `all`
                |
             29 | [tree.all]
                |       ^^^
                = a rollback would take it back too: put it outside

            backout.toml:29:7: the site file backout.toml lies in tree `all`
                |
             29 | [tree.all]
                |       ^^^
                = a rollback would take it back too: put it outside, or name it in `exclude`

            backout.toml:33:10: `service.shop` has no `driver`
                |
             33 | [service.shop]
                |          ^^^^
                = add `driver = "process"`

            backout.toml:34:7: `service.shop.run` names no program
                |
             34 | run = []
                |       ^^
                = write `["program", "argument"]`

            backout.toml:35:9: there is no database or tree `shop-prd`
                |
             35 | uses = ["shop-prd", "shop-app"]
                |         ^^^^^^^^^^
                = did you mean `shop-prod`?

            backout.toml:37:10: service `web` would run as root what `acme/shop` may write
                |
             37 | [service.web]
                |          ^^^
                = say as which `user` it runs, or `allow-root = true` if it must be root

            backout.toml:40:24: others than its owner may open the secret secrets/open (mode 644)
                |
             40 | env = { KEY = { file = "secrets/open" }, GONE = { file = "secrets/gone" }, OTHER = { envi = "X" } }
                |                        ^^^^^^^^^^^^^^
                = chmod 600 secrets/open

            backout.toml:40:58: the secret secrets/gone: there is no such file
                |
             40 | …v = { KEY = { file = "secrets/open" }, GONE = { file = "secrets/gone" }, OTHER = { envi = "X" } }
                |                                                         ^^^^^^^^^^^^^^

            backout.toml:40:84: `service.web.env.OTHER` must be a text, or one of `file` and `env`
                |
             40 | …ets/open" }, GONE = { file = "secrets/gone" }, OTHER = { envi = "X" } }
                |                                                         ^^^^^^^^^^^^^^
                = write `{ file = "secrets/name" }` or `{ env = "NAME" }`

            backout.toml:40:86: unknown key `envi` in `service.web.env.OTHER`
                |
             40 | …s/open" }, GONE = { file = "secrets/gone" }, OTHER = { envi = "X" } }
                |                                                         ^^^^
                = did you mean `env`?

            backout.toml:41:10: `service.web.reload` cannot be `KILL`
                |
             41 | reload = "KILL"
                |          ^^^^^^
                = there are `HUP`, `USR1`, `USR2`, `INT`, `QUIT`, `WINCH`

            backout.toml:42:17: `service.web.log.bytes`: a size is a number with a unit: `64KiB`, `512MiB`, `2GB`
                |
             42 | log = { bytes = "1 mb", keep = -1 }
                |                 ^^^^^^

            backout.toml:42:32: `service.web.log.keep` must be from 0 to 1000
                |
             42 | log = { bytes = "1 mb", keep = -1 }
                |                                ^^

            backout.toml:46:7: `metrics.prom.url` has a user or password in it
                |
             46 | url = "http://user:pass@localhost/metrics"
                |       ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
                = send it as a header: `headers.authorization = { file = "secrets/…" }`

            backout.toml:47:15: `metrics.prom.queries.p95` is no query
                |
             47 | queries.p95 = "p95"
                |               ^^^^^
                = expected `json:PATH`, `prometheus:NAME{LABEL="VALUE"}` or `ratio:ERRORS / ALL`

            backout.toml:51:11: there is no service `wbe`
                |
             51 | service = "wbe"
                |           ^^^^^
                = did you mean `web`?

            backout.toml:54:7: `probe.shop.url` is no address of a page
                |
             54 | url = "localhost:8080"
                |       ^^^^^^^^^^^^^^^^
                = write `http://host:port/path`

            backout.toml:55:20: `probe.shop.load.clients` must be from 1 to 10000
                |
             55 | load = { clients = 0, time = 60 }
                |                    ^

            backout.toml:55:30: `probe.shop.load.time` must be a length of time in quotes, not an integer
                |
             55 | load = { clients = 0, time = 60 }
                |                              ^^

            backout.toml:57:7: tool `migrate` would run as root what `acme/shop` may write
                |
             57 | [tool.migrate]
                |       ^^^^^^^
                = say as which `user` it runs, or `allow-root = true` if it must be root

            backout.toml:62:10: `limits.memory` must be from 1.0 MB to 4.3 GB
                |
             62 | memory = "1TiB"
                |          ^^^^^^

            backout.toml:63:7: `limits.cpu` must be longer than nothing
                |
             63 | cpu = "0s"
                |       ^^^^

            backout.toml:64:1: unknown key `calls` in `limits`
                |
             64 | calls = 5
                | ^^^^^
                = there are `memory`, `cpu`, `time`, `host-calls`, `log`, `store`

            backout.toml:66:8: `shop` cannot be the name of a package
                |
             66 | [allow.shop]
                |        ^^^^
                = write `[allow."vendor/name"]`, with the quotes

            backout.toml:70:12: `two` does not say which versions: unexpected character 't' while parsing major version number
                |
             70 | versions = "two"
                |            ^^^^^
                = write `>=1.4, <2`, `2.*` or `^1.2`

            backout.toml:71:26: there is no database `order`
                |
             71 | database.orders = { is = "order", may = ["read"] }
                |                          ^^^^^^^
                = did you mean `orders`?

            backout.toml:72:10: there is no database `tow`
                |
             72 | database.tow = { may = ["read", "run"] }
                |          ^^^
                = did you mean `two`?

            backout.toml:72:33: a database has no right `run`
                |
             72 | database.tow = { may = ["read", "run"] }
                |                                 ^^^^^
                = there are `read`, `write`, `backup`, `restore`, `fence`

            backout.toml:73:6: tree `all` is shared with others, so it cannot be restored
                |
             73 | tree.app = { is = "all", may = ["restore"] }
                |      ^^^
                = leave out `restore`, or say `exclusive = true` if it belongs to this product alone

            backout.toml:76:1: unknown key `channel` in `allow."acme/shop"`
                |
             76 | channel.ops = { may = ["send"] }
                | ^^^^^^^
                = there are `versions`, `database`, `tree`, `service`, `metrics`, `probe`, `tool`, `require`

            backout.toml:79:12: `allow."acme/shop".require.max-risk` cannot be `huge`
                |
             79 | max-risk = "huge"
                |            ^^^^^^
                = there are `low`, `medium`, `high`

            backout.toml:80:1: unknown key `rehearsed-within` in `allow."acme/shop".require`
                |
             80 | rehearsed-within = "7d"
                | ^^^^^^^^^^^^^^^^
                = there are `max-risk`, `settings`

            backout.toml:81:18: `allow."acme/shop".require.settings.watch` must be a text, a number, `true` or `false`
                |
             81 | settings.watch = []
                |                  ^^"#]],
    );
}

/// What `survey` says about a host, after `change`.
fn surveyed(change: impl FnOnce(&Folder), expected: Expect) {
    let folder = host();
    folder.write("srv/shop/versions/1.4.2/bin/shop", "#!/bin/sh\n");
    permit(&folder, "srv/shop/versions/1.4.2/bin/shop", 0o755);
    change(&folder);
    let site = Site::load(&folder.at("backout.toml")).unwrap_or_else(|e| panic!("{e}"));
    let messages: Vec<String> = site.survey().0.into_iter().map(|mistake| mistake.message).collect();
    expected.assert_eq(&folder.plain(&messages.join("\n")));
}

#[test]
fn a_site_can_be_read_when_the_host_is_half_way_and_survey_says_what_is_wrong() {
    surveyed(|_| {}, expect![[""]]);
    surveyed(
        |host| {
            std::fs::remove_file(host.at("srv/shop.db")).unwrap();
            std::fs::rename(host.at("srv/shop"), host.at("srv/gone")).unwrap();
        },
        expect![[r#"
            database `shop-prod`: srv/shop.db: there is no such file
            tree `shop-app`: srv/shop: there is no such file
            service `shop`: srv/shop/current/bin/shop: there is no such file"#]],
    );
    // As a fence leaves it.
    surveyed(
        |host| {
            std::fs::remove_file(host.at("srv/shop.db")).unwrap();
            host.folder("srv/shop.db");
        },
        expect!["database `shop-prod`: srv/shop.db is a folder"],
    );
    surveyed(
        |host| drop(host.write("srv/shop.db", "Lieber Leser, hier ist keine Datenbank")),
        expect!["database `shop-prod`: srv/shop.db is not an SQLite database"],
    );
    surveyed(
        |host| {
            std::fs::rename(host.at("srv/shop.db"), host.at("srv/real.db")).unwrap();
            std::os::unix::fs::symlink("real.db", host.at("srv/shop.db")).unwrap();
            std::fs::rename(host.at("srv/shop"), host.at("srv/real")).unwrap();
            std::os::unix::fs::symlink("real", host.at("srv/shop")).unwrap();
        },
        expect![[r#"
            database `shop-prod`: srv/shop.db is a link
            tree `shop-app`: srv/shop is a link"#]],
    );
    surveyed(
        |host| std::fs::hard_link(host.at("srv/shop.db"), host.at("srv/two.db")).unwrap(),
        expect!["database `shop-prod`: srv/shop.db has 2 names (hard links)"],
    );
    surveyed(
        |host| {
            std::fs::hard_link(host.at("srv/shop.db"), host.at("srv/two.db")).unwrap();
            host.write("backout.toml", format!("{SITE}\n[database.two]\ndriver = \"sqlite\"\npath = \"srv/two.db\"\n"));
            permit(host, "srv/shop/versions/1.4.2/bin/shop", 0o644);
        },
        expect![[r#"
            database `shop-prod`: srv/shop.db has 2 names (hard links)
            service `shop`: srv/shop/current/bin/shop is no program
            database `two`: srv/two.db has 2 names (hard links)
            database `two`: it is the same file as database `shop-prod`"#]],
    );
    // /proc is a mount point everywhere, and has others below it or lies below `/`.
    surveyed(
        |host| drop(host.write("backout.toml", SITE.replace("srv/shop\"", "/proc\""))),
        expect!["tree `shop-app`: /proc is a mount point"],
    );
}

#[test]
fn links_do_not_hide_that_two_things_are_one() {
    let folder = host();
    std::os::unix::fs::symlink("srv", folder.at("link")).unwrap();
    let again = "[database.again]\ndriver = \"sqlite\"\npath = \"link/shop.db\"\n";
    let inside = "[tree.inside]\npath = \"link/shop/versions\"\n[allow.\"a/b\"]\ntree.inside = { may = [\"write\"] }\n";
    let tool = "[tool.sly]\nrun = [\"sh\", \"../link/shop/versions/1.4.2/run.sh\"]\ndir = \"srv\"\nuser = \"root\"\n";
    folder.write("backout.toml", format!("{SITE}\n{again}{inside}{tool}").replace("\"state\"", "\"link/shop/state\""));
    let mistakes = Site::load(&folder.at("backout.toml")).unwrap_err();
    let messages: Vec<String> = mistakes.0.into_iter().map(|mistake| mistake.message).collect();
    expect![[r#"
        database `shop-prod` is the same place as database `again`
        Backout's state srv/shop/state lies in tree `shop-app`
        tree `inside` lies in tree `shop-app`
        tool `sly` would run as root what `a/b` may write"#]]
    .assert_eq(&folder.plain(&messages.join("\n")));
}

#[test]
fn excluded_folders_of_a_tree_may_hold_other_resources_but_not_the_state() {
    let folder = host();
    let load = |site: String| {
        folder.write("backout.toml", site);
        Site::load(&folder.at("backout.toml")).map(|_| ()).map_err(|e| e.0.len())
    };
    let site = SITE.replace("srv/shop.db", "srv/shop/var/db/shop.db");
    assert_eq!(load(site.replace("\"uploads\"", "\"var\"")), Ok(()));
    assert_eq!(load(site.replace("\"uploads\"", "\"**/d*\"")), Ok(()));
    assert_eq!(load(site.replace("\"uploads\"", "\"va\"")), Err(1));
    let site = site.replace("\"state\"", "\"srv/shop/var/state\"");
    assert_eq!(load(site.replace("\"uploads\"", "\"var\"")), Err(1), "it would be elsewhere during an exchange");
}

#[test]
fn settings_are_the_sites_else_the_packages() {
    let folder = host();
    let manifest = r#"[package]
name = "acme/shop"
version = "2.0.0"
about = "x"
script = "s.wasm"
[settings]
watch = { type = "duration", default = "10m", max = "1h", about = "how long" }
count = { type = "integer", about = "how many", min = 1 }
share = { type = "number", default = 0.5, about = "how much", max = 1 }
loud = { type = "boolean", default = true, about = "whether" }
name = { type = "string", default = "a b", about = "who" }
"#;
    folder.write("package/package.toml", manifest);
    folder.write("package/s.wasm", whole());
    let package = Package::open(&folder.at("package")).unwrap_or_else(|e| panic!("{e}"));
    let settings = |lines: &str| {
        folder.write("backout.toml", SITE.replace("settings.watch = \"15m\"", lines));
        let site = Site::load(&folder.at("backout.toml")).unwrap_or_else(|e| panic!("{e}"));
        site.settings(&package).map_err(|mistakes| folder.plain(&mistakes.to_string()))
    };
    let values = settings("settings = { watch = \"15m\", count = 7, share = 1 }").unwrap();
    let values: Vec<String> = values.into_iter().map(|(name, value)| format!("{name}={value}")).collect();
    assert_eq!(values, ["count=7", "loud=true", "name=a b", "share=1", "watch=900"]);
    let wrong = "settings = { watch = \"2h\", count = 0, share = 1.5, loud = \"true\", name = 5 }";
    expect![[r#"
        backout.toml:60:22: `settings.watch` must be at most 1h
            |
         60 | settings = { watch = "2h", count = 0, share = 1.5, loud = "true", name = 5 }
            |                      ^^^^
            = how long

        backout.toml:60:36: `settings.count` must be at least 1
            |
         60 | settings = { watch = "2h", count = 0, share = 1.5, loud = "true", name = 5 }
            |                                    ^
            = how many

        backout.toml:60:47: `settings.share` must be at most 1
            |
         60 | settings = { watch = "2h", count = 0, share = 1.5, loud = "true", name = 5 }
            |                                               ^^^
            = how much

        backout.toml:60:59: `settings.loud` must be `true` or `false`
            |
         60 | …tings = { watch = "2h", count = 0, share = 1.5, loud = "true", name = 5 }
            |                                                         ^^^^^^
            = whether

        backout.toml:60:74: `settings.name` must be a string
            |
         60 | … = "2h", count = 0, share = 1.5, loud = "true", name = 5 }
            |                                                         ^
            = who"#]]
    .assert_eq(&settings(wrong).unwrap_err());
    expect![[r#"
        backout.toml:60:22: `settings.watch` must be a length of time in quotes, as `"10m"`
            |
         60 | settings = { watch = 900, whatch = "1m" }
            |                      ^^^
            = how long

        backout.toml:60:36: acme/shop has no setting `whatch`
            |
         60 | settings = { watch = 900, whatch = "1m" }
            |                                    ^^^^
            = did you mean `watch`?

        package/package.toml:8:1: the site must say the setting `count`: how many
           |
         8 | count = { type = "integer", about = "how many", min = 1 }
           | ^^^^^
           = add `settings.count = …` to `[allow."acme/shop".require]`"#]]
    .assert_eq(&settings("settings = { watch = 900, whatch = \"1m\" }").unwrap_err());
}

#[test]
fn secrets_come_from_files_of_their_own_and_from_the_environment() {
    let env = |value: &str| format!("{SITE}\n[tool.t]\nrun = [\"true\"]\nenv = {{ A = {value} }}\n");
    let folder = host();
    let load = |value: &str| {
        folder.write("backout.toml", env(value));
        let site = Site::load(&folder.at("backout.toml"));
        site.map(|site| site.tools["t"].env["A"].clone()).map_err(|m| folder.plain(&m.0[0].message))
    };
    assert_eq!(load("\"plain\"").unwrap(), "plain");
    assert_eq!(load("{ file = \"secrets/key\" }").unwrap(), "sesame");
    assert_eq!(load("{ env = \"CARGO_PKG_NAME\" }").unwrap(), "backout");
    folder.write("secrets/two", "a\nb\n");
    permit(&folder, "secrets/two", 0o400);
    folder.write("secrets/bytes", [0xff, 0xfe]);
    permit(&folder, "secrets/bytes", 0o600);
    permit(&folder, "secrets/open", 0o640);
    let wrong = [
        "{ file = \"secrets/open\" }",
        "{ file = \"secrets/two\" }",
        "{ file = \"secrets/bytes\" }",
        "{ file = \"secrets\" }",
        "{ file = \"secrets/key\", env = \"HOME\" }",
        "{ env = \"BACKOUT_NOBODY_SETS_THIS\" }",
        "{}",
        "5",
    ];
    let said: Vec<String> = wrong.iter().map(|value| load(value).unwrap_err()).collect();
    expect![[r#"
        others than its owner may open the secret secrets/open (mode 640)
        the secret secrets/two has more than one line
        the secret secrets/bytes is not text
        the secret secrets: it is not a regular file
        `tool.t.env.A` must be a text, or one of `file` and `env`
        the environment has no `BACKOUT_NOBODY_SETS_THIS`
        `tool.t.env.A` must be a text, or one of `file` and `env`
        `tool.t.env.A` must be a string, not an integer"#]]
    .assert_eq(&said.join("\n"));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_bytes_make_the_reader_of_sites_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let folder = host();
        let _ = Site::parse(&folder.at("backout.toml"), bytes).map_err(|mistakes| mistakes.to_string());
    }

    /// A good file with holes and other bytes in it comes further than noise does.
    #[test]
    fn no_damage_makes_the_reader_of_sites_panic(
        damage in proptest::collection::vec((0..SITE.len(), 0_usize..40, "[\\PC\\n\"=\\[\\]{}]{0,6}"), 1..5)
    ) {
        let folder = host();
        let mut bytes = SITE.as_bytes().to_vec();
        for (at, length, text) in damage {
            let at = at.min(bytes.len());
            let end = (at + length).min(bytes.len());
            bytes.splice(at..end, text.into_bytes());
        }
        let _ = Site::parse(&folder.at("backout.toml"), bytes).map_err(|mistakes| mistakes.to_string());
    }
}

#[test]
fn a_file_without_end_or_bottom_is_refused_in_time() {
    let folder = host();
    let path = folder.at("backout.toml");
    for text in
        ["[".repeat(100_000), "a.".repeat(100_000), format!("a = {}", "[".repeat(100_000)), "x = { ".repeat(50_000)]
    {
        let mistakes = Site::parse(&path, text.into_bytes()).unwrap_err();
        assert!(mistakes.to_string().len() < 100_000);
    }
    folder.write("backout.toml", vec![b' '; (1 << 20) + 1]);
    let mistakes = Site::load(&path).unwrap_err();
    assert!(mistakes.to_string().ends_with("it is larger than 1.0 MB"), "{mistakes}");
    std::fs::remove_file(&path).unwrap();
    std::process::Command::new("mkfifo").arg(&path).status().unwrap();
    let mistakes = Site::load(&path).unwrap_err();
    assert!(mistakes.to_string().ends_with("it is not a regular file"), "{mistakes}");
    folder.write("other.toml", [b'a', b'\n', 0xff]);
    let mistakes = Site::load(&folder.at("other.toml")).unwrap_err();
    assert!(mistakes.to_string().contains("other.toml:2:1: this is not UTF-8"), "{mistakes}");
}
