//! What is refused, and in which words.
use super::host;
use backout::site::Site;
use expect_test::{Expect, expect};

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
rehearsed-withing = "7d"
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
                = there are `memory`, `cpu`, `time`, `compile`, `host-calls`, `log`, `store`

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

            backout.toml:76:9: there is no channel `ops`
                |
             76 | channel.ops = { may = ["send"] }
                |         ^^^
                = add a section `[channel.ops]`

            backout.toml:79:12: `allow."acme/shop".require.max-risk` cannot be `huge`
                |
             79 | max-risk = "huge"
                |            ^^^^^^
                = there are `low`, `medium`, `high`

            backout.toml:80:1: unknown key `rehearsed-withing` in `allow."acme/shop".require`
                |
             80 | rehearsed-withing = "7d"
                | ^^^^^^^^^^^^^^^^^
                = did you mean `rehearsed-within`?

            backout.toml:81:18: `allow."acme/shop".require.settings.watch` must be a text, a number, `true` or `false`
                |
             81 | settings.watch = []
                |                  ^^"#]],
    );
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

#[test]
fn whoever_cannot_approve_is_found_before_it_matters() {
    refused(
        r#"[approver.anna]
key = "keys/anna.pub"
roles = ["dba"]
usr = "anna"

[approver."an na"]

[approver.bert]
roles = []

[allow."acme/shop".require]
approval = { role = "dba", not-the-runner = "yes" }

[allow."acme/web".require]
approval = []

[allow."acme/db".require]
approval = ["d b", 7]
"#,
        expect![[r#"
            backout.toml:4:1: unknown key `usr` in `approver.anna`
               |
             4 | usr = "anna"
               | ^^^
               = did you mean `user`?

            backout.toml:6:11: `an na` cannot be a name
               |
             6 | [approver."an na"]
               |           ^^^^^^^
               = a name is made of letters, digits, `-`, `_` and `.`, and begins with a letter or digit

            backout.toml:8:11: `approver.bert` has no `key`
               |
             8 | [approver.bert]
               |           ^^^^
               = add `key = "keys/anna.pub"`

            backout.toml:9:9: `approver.bert.roles` is empty
               |
             9 | roles = []
               |         ^^
               = name a role, as in `"dba"`

            backout.toml:12:1: `allow."acme/shop".require.approval` has no `roles`
                |
             12 | approval = { role = "dba", not-the-runner = "yes" }
                | ^^^^^^^^
                = add `roles = ["dba"]`

            backout.toml:12:14: unknown key `role` in `allow."acme/shop".require.approval`
                |
             12 | approval = { role = "dba", not-the-runner = "yes" }
                |              ^^^^
                = did you mean `roles`?

            backout.toml:12:45: `allow."acme/shop".require.approval.not-the-runner` must be `true` or `false`, not a string
                |
             12 | approval = { role = "dba", not-the-runner = "yes" }
                |                                             ^^^^^

            backout.toml:15:12: `allow."acme/web".require.approval` is empty
                |
             15 | approval = []
                |            ^^
                = name a role, as in `"dba"`

            backout.toml:18:20: `allow."acme/db".require.approval` must be a string, not an integer
                |
             18 | approval = ["d b", 7]
                |                    ^"#]],
    );
    refused(
        r#"[approver.anna]
key = "keys/anna.pub"
roles = "dba"

[allow."acme/shop".require]
approval = { roles = ["dba"], not-the-runner = true }

[allow."acme/web".require]
approval = ["dbaa", "owner"]

[allow."acme/db".require]
approval = ["dba", "dba"]
"#,
        expect![[r#"
            backout.toml:1:11: approver `anna` has no `user`, so nobody could tell whether it is the one who runs an upgrade
               |
             1 | [approver.anna]
               |           ^^^^
               = say as which account this person works here: `user = "…"`

            backout.toml:9:13: no approver has the role `dbaa`
               |
             9 | approval = ["dbaa", "owner"]
               |             ^^^^^^
               = did you mean `dba`?

            backout.toml:9:21: no approver has the role `owner`
               |
             9 | approval = ["dbaa", "owner"]
               |                     ^^^^^^^
               = there is `dba`

            backout.toml:12:20: too few approvers: nobody is left who could approve as `dba`
                |
             12 | approval = ["dba", "dba"]
                |                    ^^^^^
                = each role is approved by a person of its own"#]],
    );
}
