//! Values that come from elsewhere: settings of the package, secrets.
use super::{SITE, host, permit};
use crate::support::packages::whole;
use backout::{
    package::Package,
    resource::database::{Driver, Host, Tls},
    site::Site,
};
use expect_test::expect;

/// What looks whether a tool has done its work.
#[test]
fn a_check_is_a_command_with_a_time_of_its_own() {
    let folder = host();
    let check = |line: &str| {
        folder.write("backout.toml", format!("{SITE}\n[tool.t]\nrun = [\"true\"]\n{line}\n"));
        let site = Site::load(&folder.at("backout.toml"));
        site.map(|site| site.tools["t"].check.clone()).map_err(|m| folder.plain(&m.0[0].message))
    };
    assert_eq!(check(""), Ok(None));
    let named = check("check = { run = [\"srv/check\", \"-q\"], timeout = \"5s\" }").unwrap().unwrap();
    assert_eq!(
        (folder.plain(&named.run[0]), &named.run[1..], named.timeout.as_secs()),
        ("srv/check".into(), &["-q".into()][..], 5)
    );
    assert_eq!(check("check = { run = [\"true\"] }").unwrap().unwrap().timeout.as_secs(), 60);
    for (line, mistake) in [
        ("check = true", "`tool.t.check` must be a table, not a boolean"),
        ("check = { timeout = \"5s\" }", "`tool.t.check` has no `run`"),
        ("check = { run = [] }", "`tool.t.check.run` names no program"),
        ("check = { run = [\"true\"], user = \"root\" }", "unknown key `user` in `tool.t.check`"),
    ] {
        assert_eq!(check(line), Err(mistake.to_owned()), "{line}");
    }
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
        backout.toml:61:22: `settings.watch` must be at most 1h
            |
         61 | settings = { watch = "2h", count = 0, share = 1.5, loud = "true", name = 5 }
            |                      ^^^^
            = how long

        backout.toml:61:36: `settings.count` must be at least 1
            |
         61 | settings = { watch = "2h", count = 0, share = 1.5, loud = "true", name = 5 }
            |                                    ^
            = how many

        backout.toml:61:47: `settings.share` must be at most 1
            |
         61 | settings = { watch = "2h", count = 0, share = 1.5, loud = "true", name = 5 }
            |                                               ^^^
            = how much

        backout.toml:61:59: `settings.loud` must be `true` or `false`
            |
         61 | …tings = { watch = "2h", count = 0, share = 1.5, loud = "true", name = 5 }
            |                                                         ^^^^^^
            = whether

        backout.toml:61:74: `settings.name` must be a string
            |
         61 | … = "2h", count = 0, share = 1.5, loud = "true", name = 5 }
            |                                                         ^
            = who"#]]
    .assert_eq(&settings(wrong).unwrap_err());
    expect![[r#"
        backout.toml:61:22: `settings.watch` must be a length of time in quotes, as `"10m"`
            |
         61 | settings = { watch = 900, whatch = "1m" }
            |                      ^^^
            = how long

        backout.toml:61:36: acme/shop has no setting `whatch`
            |
         61 | settings = { watch = 900, whatch = "1m" }
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

#[test]
fn a_mariadb_is_named_by_its_address() {
    let folder = host();
    let load = |keys: &str| {
        folder.write("backout.toml", format!("{SITE}\n[database.x]\ndriver = \"mariadb\"\n{keys}\n"));
        let site = Site::load(&folder.at("backout.toml"));
        site.map(|site| site.databases["x"].driver.clone()).map_err(|m| {
            let said: Vec<String> = m.0.iter().map(|m| folder.plain(&m.message)).collect();
            assert!(!said.concat().contains("hunter2"), "{said:?}");
            said.join("\n")
        })
    };
    let Driver::MariaDb(server) = load(
        "url = \"mysql://back%6Fut@db.example:3307/shop?sslmode=verify-full\"\npassword = { file = \"secrets/key\" }\nfence-accounts = [\"shop@%\"]",
    )
    .unwrap() else {
        panic!()
    };
    assert_eq!((&*server.user, server.port, &*server.database, server.tls), ("backout", 3307, "shop", Tls::VerifyFull));
    assert_eq!(
        (server.host.clone(), server.fence_roles.clone()),
        (Host::Name("db.example".into()), vec!["shop@%".into()])
    );
    assert_eq!(server.password.as_deref(), Some("sesame"));
    assert!(!format!("{server:?}").contains("sesame"));
    let Driver::MariaDb(server) = load("url = \"mysql://b@localhost/shop?socket=/run/s.sock\"").unwrap() else {
        panic!()
    };
    assert_eq!(server.host, Host::Socket("/run/s.sock".into()));
    let wrong = [
        "",
        "url = 5",
        "url = \"postgres://b@h/shop\"",
        "url = \"mysql://b:hunter2@h/shop\"",
        "url = \"mysql://h/shop\"",
        "url = \"mysql://b@h/\"",
        "url = \"mysql://b@h/mysql\"",
        "url = \"mysql://b@h/a%60b\"",
        "url = \"mysql://b@h/shop?ssl=no\"",
        "url = \"mysql://b@h/shop\"\npassword = \"hunter2\"",
        "url = \"mysql://b@h/shop\"\nfence-accounts = [\"shop\"]",
        "url = \"mysql://b@h/shop\"\npath = \"x\"",
        "url = \"mysql://b@h/shop\"\nmethod = \"clone\"",
    ];
    let said: Vec<String> = wrong.iter().map(|keys| load(keys).unwrap_err()).collect();
    expect![[r#"
        `database.x` has no `url`
        `database.x.url` must be a string, not an integer
        `database.x.url` is no address of a database
        `database.x.url` has a password in it
        `database.x.url` names no user
        `database.x.url` names no database, or one whose name is not made of ASCII letters, digits, `_`, `-` and `$`
        `database.x.url` names a database that belongs to no product
        `database.x.url` names no database, or one whose name is not made of ASCII letters, digits, `_`, `-` and `$`
        `database.x.url` says more than `socket` and `sslmode`, or something that they cannot be
        `database.x.password` holds a secret, and the site file holds none
        `shop` is no account
        unknown key `path` in `database.x`
        `database.x.method` is not possible with this driver"#]]
    .assert_eq(&said.join("\n"));
}
