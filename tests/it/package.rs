//! Packages: what is opened, what is refused and in which words.
use crate::support::packages::{Folder, component, whole};
use backout::{
    package::Package,
    resource::{Right, Rights},
};
use expect_test::{Expect, expect};

pub const MANIFEST: &str = r#"[package]
name = "acme/shop"
version = "2.0.0"
about = "Upgrades Shop 1.x to 2.0, and takes it back"
from = ">=1.4, <2"
backout = "0.1"
script = "shop.wasm"
build = "cargo build --release"

[payload]
"shop-2.0" = "dist/shop-2.0.tar.zst"

[settings]
watch = { type = "duration", default = "10m", max = "1h", about = "how long 2.0 is watched" }

[needs]
database.orders = { may = ["read", "backup", "restore", "fence"], why = "2.0 drops a column" }
tree.app = { may = ["backup", "restore", "write"], why = "the `current` link" }
metrics.shop = { may = ["read"], queries = ["error-rate"], why = "2.0 goes back when it errs" }
tool.migrate = { may = ["run"], optional = true, why = "schema migration" }
"#;

pub fn shop() -> Folder {
    let folder = Folder::new();
    folder.write("package.toml", MANIFEST);
    folder.write("shop.wasm", whole());
    folder.write("dist/shop-2.0.tar.zst", "payload");
    folder
}

/// What `open` says about a manifest.
fn refused(manifest: &str, expected: Expect) {
    let folder = shop();
    folder.write("package.toml", manifest);
    mistakes(&folder, expected);
}

/// What `open` says about a script.
fn refused_script(script: &[u8], expected: Expect) {
    let folder = shop();
    folder.write("shop.wasm", script);
    mistakes(&folder, expected);
}

fn mistakes(folder: &Folder, expected: Expect) {
    let mistakes = Package::open(folder.path()).expect_err("the package was opened");
    expected.assert_eq(&folder.plain(&mistakes.to_string()));
}

#[test]
fn a_package_is_what_its_manifest_says() {
    let folder = shop();
    let package = Package::open(folder.path()).unwrap();
    let manifest = &package.manifest;
    assert_eq!(package.title(), "acme/shop 2.0.0");
    assert!(manifest.from.as_ref().unwrap().value.matches(&semver::Version::new(1, 4, 2)));
    let labels: Vec<_> = manifest.needs.iter().map(|n| format!("{} {}", n.kind, n.label)).collect();
    assert_eq!(labels, ["database orders", "tree app", "metrics shop", "tool migrate"]);
    let orders = manifest.need("database", "orders").unwrap();
    assert_eq!(orders.may, Rights::from_iter([Right::Read, Right::Backup, Right::Restore, Right::Fence]));
    assert!(manifest.need("tool", "migrate").unwrap().optional);
    assert_eq!(manifest.settings["watch"].default.as_ref().unwrap().to_string(), "600");
    assert!(package.imports.contains("backup") && !package.imports.contains("types"), "{:?}", package.imports);
    let archive = &package.payloads["shop-2.0"];
    assert_eq!(archive.sha256, "239f59ed55e737c77147cf55ad0c1b030b6d7ee748a7426952f9b852d5a935e5");
    assert_eq!(package.unneeded_imports(), ["logs", "notify", "probe", "service"]);
}

#[test]
fn the_digest_covers_manifest_script_and_payload_and_nothing_else() {
    let folder = shop();
    let digest = || Package::open(folder.path()).unwrap().digest;
    let first = digest();
    assert!(first.starts_with("sha256:") && first.len() == 71, "{first}");
    folder.write("README.md", "not part of it");
    assert_eq!(digest(), first);
    assert_eq!(Package::open(&folder.at("package.toml")).unwrap().digest, first);
    folder.write("dist/shop-2.0.tar.zst", "Payload");
    let payload = digest();
    folder.write("shop.wasm", [whole(), vec![0, 2, 1, b'x']].concat());
    let script = digest();
    folder.write("package.toml", format!("{MANIFEST}\n"));
    let manifest = digest();
    let mut all = vec![first, payload, script, manifest];
    all.sort();
    all.dedup();
    assert_eq!(all.len(), 4);
}

#[test]
fn every_mistake_of_a_manifest_is_found_at_once() {
    refused(
        r#"[package]
name = "Shop"
version = "2.0"
about = ""
form = ">=1.4"
from = ">=one"
backout = "99.1"
script = "../shop.wasm"

[payload]
"bad name" = "dist/shop-2.0.tar.zst"
gone = "dist/gone.tar.zst"
away = "/etc/passwd"

[settings]
watch = { type = "duratoin", default = "10m", about = "?" }
time = { type = "duration", default = "2h", max = "1h", about = "how long" }
half = { type = "duration", default = "500ms", about = "how short" }
count = { type = "integer", default = "5", min = 5, max = 1, about = "how many" }
name = { type = "string", min = 1 }

[needs]
databse.orders = { may = ["read"], why = "x" }
database.shop = { may = ["read", "backup", "fance", "control"], why = "x" }
tree.shop = { may = ["backup"], why = "two of one label" }
tree.app = { may = [] }
tool.migrate = { may = "run", why = "x", optional = "yes" }
metrics.shop = { may = ["read"], queries = ["p95", "p95", "a b"], why = "x", qeries = [] }
service.shop = { may = ["control"], why = "an escape \u001b[31m" }
service.web = 5

[signature]
key = "x"
"#,
        expect![[r#"
            package.toml:2:8: `Shop` cannot be the name of a package
               |
             2 | name = "Shop"
               |        ^^^^^^
               = write `vendor/name`, both of lower-case letters, digits and `-`

            package.toml:3:11: `2.0` is not a version: unexpected end of input while parsing minor version number
               |
             3 | version = "2.0"
               |           ^^^^^
               = write `major.minor.patch`, as in `2.0.0`

            package.toml:4:9: `package.about` is empty
               |
             4 | about = ""
               |         ^^

            package.toml:5:1: unknown key `form` in `package`
               |
             5 | form = ">=1.4"
               | ^^^^
               = did you mean `from`?

            package.toml:6:8: `>=one` does not say which versions: unexpected character 'o' while parsing major version number
               |
             6 | from = ">=one"
               |        ^^^^^^^
               = write `>=1.4, <2`, `2.*` or `^1.2`

            package.toml:7:11: the package needs Backout 99.1.0 or later, this is 0.1.0
               |
             7 | backout = "99.1"
               |           ^^^^^^
               = install a newer Backout

            package.toml:8:10: `package.script` leaves the package: ../shop.wasm
               |
             8 | script = "../shop.wasm"
               |          ^^^^^^^^^^^^^^
               = name a file inside the package's folder, without `..`

            package.toml:11:1: `bad name` cannot be a name
                |
             11 | "bad name" = "dist/shop-2.0.tar.zst"
                | ^^^^^^^^^^
                = a name is made of letters, digits, `-`, `_` and `.`, and begins with a letter or digit

            package.toml:12:8: the payload `dist/gone.tar.zst`: there is no such file
                |
             12 | gone = "dist/gone.tar.zst"
                |        ^^^^^^^^^^^^^^^^^^^

            package.toml:13:8: `payload.away` leaves the package: /etc/passwd
                |
             13 | away = "/etc/passwd"
                |        ^^^^^^^^^^^^^
                = name a file inside the package's folder, without `..`

            package.toml:16:18: `settings.watch.type` cannot be `duratoin`
                |
             16 | watch = { type = "duratoin", default = "10m", about = "?" }
                |                  ^^^^^^^^^^
                = did you mean `duration`?

            package.toml:17:39: `settings.time.default` must be at most 1h
                |
             17 | time = { type = "duration", default = "2h", max = "1h", about = "how long" }
                |                                       ^^^^

            package.toml:18:39: `settings.half.default` must be whole seconds
                |
             18 | half = { type = "duration", default = "500ms", about = "how short" }
                |                                       ^^^^^^^

            package.toml:19:1: `settings.count`: min 5 is above max 1
                |
             19 | count = { type = "integer", default = "5", min = 5, max = 1, about = "how many" }
                | ^^^^^

            package.toml:19:39: `settings.count.default` must be an integer
                |
             19 | count = { type = "integer", default = "5", min = 5, max = 1, about = "how many" }
                |                                       ^^^

            package.toml:20:1: `settings.name` has no `about`
                |
             20 | name = { type = "string", min = 1 }
                | ^^^^
                = add `about = "what it is for"`

            package.toml:20:33: `settings.name.min` has no meaning for this type
                |
             20 | name = { type = "string", min = 1 }
                |                                 ^

            package.toml:23:1: unknown key `databse` in `needs`
                |
             23 | databse.orders = { may = ["read"], why = "x" }
                | ^^^^^^^
                = did you mean `database`?

            package.toml:24:44: a database has no right `fance`
                |
             24 | database.shop = { may = ["read", "backup", "fance", "control"], why = "x" }
                |                                            ^^^^^^^
                = did you mean `fence`?

            package.toml:24:53: a database has no right `control`
                |
             24 | database.shop = { may = ["read", "backup", "fance", "control"], why = "x" }
                |                                                     ^^^^^^^^^
                = there are `read`, `write`, `backup`, `restore`, `fence`

            package.toml:26:6: `needs.tree.app` has no `why`
                |
             26 | tree.app = { may = [] }
                |      ^^^
                = add `why = "what a person who decides must know"`

            package.toml:26:20: `needs.tree.app.may` is empty
                |
             26 | tree.app = { may = [] }
                |                    ^^
                = without a right, leave the line out

            package.toml:27:24: `needs.tool.migrate.may` must be a list, not a string
                |
             27 | tool.migrate = { may = "run", why = "x", optional = "yes" }
                |                        ^^^^^

            package.toml:27:53: `needs.tool.migrate.optional` must be `true` or `false`, not a string
                |
             27 | tool.migrate = { may = "run", why = "x", optional = "yes" }
                |                                                     ^^^^^

            package.toml:28:52: `p95` is named twice
                |
             28 | metrics.shop = { may = ["read"], queries = ["p95", "p95", "a b"], why = "x", qeries = [] }
                |                                                    ^^^^^
                = once is enough

            package.toml:28:59: `a b` cannot be a name
                |
             28 | …rics.shop = { may = ["read"], queries = ["p95", "p95", "a b"], why = "x", qeries = [] }
                |                                                         ^^^^^
                = a name is made of letters, digits, `-`, `_` and `.`, and begins with a letter or digit

            package.toml:28:78: unknown key `qeries` in `needs.metrics.shop`
                |
             28 | … ["read"], queries = ["p95", "p95", "a b"], why = "x", qeries = [] }
                |                                                         ^^^^^^
                = did you mean `queries`?

            package.toml:29:43: `needs.service.shop.why` holds the character \u{1b}
                |
             29 | service.shop = { may = ["control"], why = "an escape \u001b[31m" }
                |                                           ^^^^^^^^^^^^^^^^^^^^^^
                = write one line of plain text

            package.toml:30:15: `needs.service.web` must be a table, not an integer
                |
             30 | service.web = 5
                |               ^

            package.toml:32:2: unknown key `signature`
                |
             32 | [signature]
                |  ^^^^^^^^^
                = there are `package`, `payload`, `settings`, `needs`, `schema`"#]],
    );
}

#[test]
fn slips_in_the_syntax_are_told_alone_and_all_of_them() {
    refused(
        "[package\nname = \"acme/shop\"\nversion = \nabout = \"x\n\n[needs]\ntree.app = {\n",
        expect![[r#"
        package.toml:1:9: not TOML: unclosed table, expected `]`
           |
         1 | [package
           |         ^

        package.toml:7:13: not TOML: unclosed inline table, expected `}`
           |
         7 | tree.app = {
           |             ^"#]],
    );
    refused(
        "[package]\nname = \"a/b\"\nname = \"a/c\"\n",
        expect![[r#"
        package.toml:3:1: not TOML: duplicate key
           |
         3 | name = "a/c"
           | ^^^^"#]],
    );
    refused(
        "",
        expect![[r#"
            package.toml:1:1: there is no section `[package]`
               |
             1 |
               | ^
               = add `[package]`"#]],
    );
}

#[test]
fn a_script_that_is_none_says_what_it_is() {
    refused_script(
        b"",
        expect![[r#"
        package.toml:7:10: the script is not WebAssembly
           |
         7 | script = "shop.wasm"
           |          ^^^^^^^^^^^
           = `script` names the component that the build command makes"#]],
    );
    refused_script(
        b"#!/bin/sh\n",
        expect![[r#"
        package.toml:7:10: the script is not WebAssembly
           |
         7 | script = "shop.wasm"
           |          ^^^^^^^^^^^
           = `script` names the component that the build command makes"#]],
    );
    refused_script(
        b"\0asm\x01\0\0\0",
        expect![[r#"
        package.toml:7:10: the script is a core module, not a component
           |
         7 | script = "shop.wasm"
           |          ^^^^^^^^^^^
           = make a component of it: `wasm-tools component new core.wasm -o script.wasm`"#]],
    );
    refused_script(
        &whole()[..whole().len() - 20],
        expect![[r#"
            package.toml:7:10: the script is cut short (at byte 546)
               |
             7 | script = "shop.wasm"
               |          ^^^^^^^^^^^
               = build or copy it again"#]],
    );
    let mut damaged = whole();
    damaged[40] ^= 0xff;
    refused_script(
        &damaged,
        expect![[r#"
        package.toml:7:10: the script is damaged: malformed UTF-8 encoding (at byte 41)
           |
         7 | script = "shop.wasm"
           |          ^^^^^^^^^^^
           = build or copy it again"#]],
    );
    refused_script(
        &wat::parse_str("(component)").unwrap(),
        expect![[r#"
        package.toml:7:10: the component does not export `backout:host/life-cycle`, so it is no rollback script
           |
         7 | script = "shop.wasm"
           |          ^^^^^^^^^^^
           = build it against the world `script` of `backout:host`"#]],
    );
    let other = "(component (instance $s) (export \"backout:host/life-cycle@0.2.0\" (instance $s)))";
    refused_script(
        &wat::parse_str(other).unwrap(),
        expect![[r#"
        package.toml:7:10: the script exports `backout:host/life-cycle@0.2.0`; this Backout has `backout:host@0.1.x`
           |
         7 | script = "shop.wasm"
           |          ^^^^^^^^^^^
           = build the script against this Backout's WIT files, or install the Backout that it was built for"#]],
    );
    let foreign = [
        ("backout:host/bakup@0.1.0", &["take"][..]),
        ("backout:host/database@0.1.0", &["fence", "drop"]),
        ("backout:host/service@0.2.0", &["start"]),
        ("wasi:cli/stdout@0.2.0", &[]),
        ("acme:shell/run@1.0.0", &["run"]),
    ];
    refused_script(
        &component(&foreign),
        expect![[r#"
        package.toml:7:10: the script imports `acme:shell/run@1.0.0`, which no script can have
           |
         7 | script = "shop.wasm"
           |          ^^^^^^^^^^^
           = a script can import `backout:host/…` and an empty `wasi:…`

        package.toml:7:10: the script imports `backout:host/bakup@0.1.0`, which this Backout does not have
           |
         7 | script = "shop.wasm"
           |          ^^^^^^^^^^^
           = there is `backup`; or the script was built against a newer Backout

        package.toml:7:10: the script imports `drop` of `backout:host/database`, which this Backout does not have
           |
         7 | script = "shop.wasm"
           |          ^^^^^^^^^^^
           = the script was built against a newer Backout: install that one

        package.toml:7:10: the script imports `backout:host/service@0.2.0`; this Backout has `backout:host@0.1.x`
           |
         7 | script = "shop.wasm"
           |          ^^^^^^^^^^^
           = build the script against this Backout's WIT files, or install the Backout that it was built for"#]],
    );
    refused_script(
        &component(&[("backout:host/database@0.1.0", &[])]),
        expect![[r#"
        package.toml:17:10: database orders needs backup, restore, but the script does not import `backup`
            |
         17 | database.orders = { may = ["read", "backup", "restore", "fence"], why = "2.0 drops a column" }
            |          ^^^^^^
            = ask only for what the script uses, or build the script again

        package.toml:18:6: tree app needs write, backup, restore, but the script does not import `files`
            |
         18 | tree.app = { may = ["backup", "restore", "write"], why = "the `current` link" }
            |      ^^^
            = ask only for what the script uses, or build the script again

        package.toml:19:9: metrics shop needs read, but the script does not import `metrics`
            |
         19 | metrics.shop = { may = ["read"], queries = ["error-rate"], why = "2.0 goes back when it errs" }
            |         ^^^^
            = ask only for what the script uses, or build the script again

        package.toml:20:6: tool migrate needs run, but the script does not import `tool`
            |
         20 | tool.migrate = { may = ["run"], optional = true, why = "schema migration" }
            |      ^^^^^^^
            = ask only for what the script uses, or build the script again"#]],
    );
}

#[test]
fn nothing_leads_out_of_a_package() {
    use std::os::unix::fs::symlink;
    let folder = shop();
    let outside = Folder::new();
    outside.write("secret", "x");
    std::fs::remove_file(folder.at("dist/shop-2.0.tar.zst")).unwrap();
    symlink(outside.at("secret"), folder.at("dist/shop-2.0.tar.zst")).unwrap();
    std::fs::remove_file(folder.at("shop.wasm")).unwrap();
    std::fs::create_dir(folder.at("shop.wasm")).unwrap();
    mistakes(
        &folder,
        expect![[r#"
        package.toml:7:10: the script `shop.wasm`: it is not a regular file
           |
         7 | script = "shop.wasm"
           |          ^^^^^^^^^^^

        package.toml:11:14: the payload `dist/shop-2.0.tar.zst`: a link leads out of the package
            |
         11 | "shop-2.0" = "dist/shop-2.0.tar.zst"
            |              ^^^^^^^^^^^^^^^^^^^^^^^
            = put the file itself into the package"#]],
    );
    // A link that stays inside is fine.
    let folder = shop();
    std::fs::rename(folder.at("dist/shop-2.0.tar.zst"), folder.at("dist/real")).unwrap();
    symlink("real", folder.at("dist/shop-2.0.tar.zst")).unwrap();
    Package::open(folder.path()).unwrap_or_else(|e| panic!("{e}"));
    // Nor does a pipe hold it up.
    std::fs::remove_file(folder.at("shop.wasm")).unwrap();
    std::process::Command::new("mkfifo").arg(folder.at("shop.wasm")).status().unwrap();
    let mistakes = Package::open(folder.path()).unwrap_err();
    assert!(mistakes.to_string().contains("it is not a regular file"), "{mistakes}");
}

#[test]
fn a_script_of_any_size_is_bounded_before_it_is_read() {
    let folder = shop();
    let file = std::fs::File::create(folder.at("shop.wasm")).unwrap();
    file.set_len((64 << 20) + 1).unwrap();
    let mistakes = Package::open(folder.path()).unwrap_err();
    assert!(mistakes.to_string().contains("it is larger than 67 MB"), "{mistakes}");
}

#[test]
fn the_example_is_a_package() {
    let folder = shop();
    let example = crate::support::guests::root().join("guest-examples/rust-shop");
    folder.write("package.toml", std::fs::read(example.join("package.toml")).unwrap());
    folder.write("shop.wasm", std::fs::read(example.join("shop.wasm")).unwrap());
    let package = Package::open(folder.path()).unwrap_or_else(|e| panic!("{e}"));
    assert!(package.unneeded_imports().is_empty(), "{:?}", package.unneeded_imports());
}
