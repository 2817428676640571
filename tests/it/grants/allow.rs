//! `allow`: what it writes into the site file, and what it leaves as it was.
use super::{GRANTS, SITE, host, said};
use crate::support::terminal::Terminal;
use expect_test::expect;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

#[test]
fn allow_changes_nothing_without_a_yes() {
    let folder = host(SITE);
    said(
        &folder,
        &["allow", "shop"],
        expect![[r#"
            ── stderr
            acme/shop 2.0.0 asks for 8 rights that it does not have yet:

              database "shop-prod"  read     read everything in it
                                    backup   copy it, and keep the copy until `backout commit`
                                    restore  put the copy in its place; what was there is kept aside
                                    fence    nobody else can open it while it is fenced; lifted when the run ends
                                             because: 2.0 drops a column
              tree "app"            write    write and install files in it, set links
                                    backup   copy it, and keep the copy until `backout commit`
                                    restore  put the copy in its place; what was there is kept aside
                                             because: the `current` link
              service "shop"        control  start, stop, restart and reload it
                                             because: stopped while the schema changes

              ! service shop runs what the package may write (tree app), outside the sandbox, as user shop

            This goes into backout.toml, below [allow."acme/shop"]:
              + database.orders = { is = "shop-prod", may = ["read", "backup", "restore", "fence"] }
              + tree.app = { may = ["write", "backup", "restore"] }
              + service.shop = { may = ["control"] }

            error: nothing was changed
              hint: without a terminal: backout allow --yes PACKAGE; or edit the site file
            ── exit 3
        "#]],
    );
    assert_eq!(folder.read("backout.toml"), SITE);
    let json = folder.backout(&["allow", "shop", "--json"]);
    let view: serde_json::Value = serde_json::from_str(&json.out).unwrap();
    assert_eq!((json.code, &view["written"]), (3, &serde_json::json!(false)));
    assert_eq!(folder.read("backout.toml"), SITE);
}

#[test]
fn allow_adds_lines_and_leaves_every_other_as_it_was() {
    let folder = host(&format!("{SITE}{GRANTS}"));
    said(
        &folder,
        &["allow", "--yes", "--optional", "shop"],
        expect![[r#"
            backout.toml now allows it to acme/shop 2.0.0
            ── stderr
            acme/shop 2.0.0 asks for 4 rights that it does not have yet:

              database "shop-prod"  restore  put the copy in its place; what was there is kept aside
                                    fence    nobody else can open it while it is fenced; lifted when the run ends
                                             because: 2.0 drops a column
              service "shop"        control  start, stop, restart and reload it
                                             because: stopped while the schema changes
              metrics "numbers"     read     ask for the numbers that it names
                                             because: 2.0 goes back when it errs

              ! service shop runs what the package may write (tree app), outside the sandbox, as user shop

            This goes into backout.toml, below [allow."acme/shop"]:
              ~ database.orders = { is = "shop-prod", may = ["read", "backup", "restore", "fence"] }
              + service.shop = { may = ["control"] }
              + metrics.shop = { is = "numbers", may = ["read"] }

            ── exit 0
        "#]],
    );
    expect![[r#"
        +     "restore",
        +     "fence",
        + service.shop = { may = ["control"] }
        + metrics.shop = { is = "numbers", may = ["read"] }
    "#]]
    .assert_eq(&difference(&format!("{SITE}{GRANTS}"), &folder.read("backout.toml")));
    // A second time there is nothing to do.
    let before = folder.read("backout.toml");
    said(
        &folder,
        &["allow", "--yes", "shop"],
        expect![[r#"
        acme/shop 2.0.0 has every right that it asks for; nothing was changed
        ── exit 0
    "#]],
    );
    assert_eq!(folder.read("backout.toml"), before);
}

#[test]
fn allow_writes_a_section_where_there_was_none_in_every_form_that_toml_has() {
    let folder = host(SITE);
    assert_eq!(folder.backout(&["allow", "--yes", "shop"]).code, 0);
    expect![[r#"
        + 
        + [allow."acme/shop"]
        + versions = "2.*"
        + database.orders = { is = "shop-prod", may = ["read", "backup", "restore", "fence"] }
        + tree.app = { may = ["write", "backup", "restore"] }
        + service.shop = { may = ["control"] }
    "#]]
    .assert_eq(&difference(SITE, &folder.read("backout.toml")));
    let forms = [
        "[allow]\n\"acme/shop\" = { tree.app = { may = [\"write\"] } }\n",
        "[allow.\"acme/shop\".tree.app]\nmay = [\n  \"write\",\n]\n",
        "[allow.\"acme/shop\".tree]\napp.may = [ 'write' ]\n",
        "[allow.\"other/one\"]\nversions = \"1.*\"\n",
    ];
    for form in forms {
        let before = format!("{SITE}\n{form}");
        folder.write("backout.toml", &before);
        let allowed = folder.backout(&["allow", "--yes", "shop"]);
        assert_eq!(allowed.code, 0, "{form}{}", allowed.err);
        assert_eq!(folder.backout(&["check", "shop"]).code, 0, "{}", folder.read("backout.toml"));
        assert!(folder.read("backout.toml").starts_with(SITE), "{}", folder.read("backout.toml"));
    }
}

#[test]
fn allow_keeps_the_files_permissions_and_follows_a_link_to_it() {
    let folder = host(SITE);
    folder.write("etc/real.toml", SITE.replace("srv/", "../srv/"));
    std::fs::remove_file(folder.at("backout.toml")).unwrap();
    symlink("etc/real.toml", folder.at("backout.toml")).unwrap();
    std::fs::set_permissions(folder.at("etc/real.toml"), PermissionsExt::from_mode(0o640)).unwrap();
    let said = folder.backout(&["allow", "--yes", "shop"]);
    assert_eq!(said.code, 0, "{}", said.err);
    assert!(folder.at("backout.toml").symlink_metadata().unwrap().is_symlink());
    assert_eq!(folder.at("etc/real.toml").metadata().unwrap().mode() & 0o777, 0o640);
    assert!(folder.read("etc/real.toml").contains("[allow.\"acme/shop\"]"));
    let left: Vec<_> = std::fs::read_dir(folder.at("etc")).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left, ["real.toml"], "nothing else is left behind");
}

#[test]
fn allow_asks_which_resource_where_it_cannot_know() {
    let two =
        SITE.replace("[tree.app]", "[database.stock]\ndriver = \"sqlite\"\npath = \"srv/stock.db\"\n\n[tree.app]");
    let folder = host(&two);
    said(
        &folder,
        &["allow", "--yes", "shop"],
        expect![[r#"
            ── stderr
            database orders: the site has shop-prod, stock
              = say which one: `--bind database.orders=shop-prod`

            error: 1 problem, nothing was changed
            ── exit 3
        "#]],
    );
    said(
        &folder,
        &["allow", "--yes", "shop", "--bind", "database.orders=shop-prd"],
        expect![[r#"
            ── stderr
            the site has no database `shop-prd`
              = did you mean `shop-prod`?

            error: 1 problem, nothing was changed
            ── exit 3
        "#]],
    );
    said(
        &folder,
        &["allow", "--yes", "shop", "--bind", "database.order=stock"],
        expect![[r#"
            ── stderr
            database order is not among the missing rights
              = did you mean `database.orders`?

            database orders: the site has shop-prod, stock
              = say which one: `--bind database.orders=shop-prod`

            error: 2 problems, nothing was changed
            ── exit 3
        "#]],
    );
    assert_eq!(folder.backout(&["allow", "--yes", "shop", "--bind", "orders"]).code, 2);
    assert_eq!(folder.read("backout.toml"), two);
    let bound = folder.backout(&["allow", "--yes", "shop", "--bind", "database.orders=stock"]);
    assert_eq!(bound.code, 0, "{}", bound.err);
    assert!(folder.read("backout.toml").contains("database.orders = { is = \"stock\", may = "));
    let none = host("[site]\n");
    assert_eq!(none.backout(&["allow", "--yes", "shop"]).code, 3);
    assert_eq!(none.read("backout.toml"), "[site]\n");
}

#[test]
fn allow_refuses_what_would_run_as_root() {
    let folder = host(&SITE.replace("user = \"shop\"", "user = \"root\""));
    let before = folder.read("backout.toml");
    said(
        &folder,
        &["allow", "--yes", "shop"],
        expect![[r#"
            ── stderr
            backout.toml:15:10: with these rights, service `shop` would run as root what `acme/shop` may write
                |
             15 | [service.shop]
                |          ^^^^
                = say as which `user` it runs, or `allow-root = true` if it must be root

            error: 1 problem, nothing was changed
            ── exit 3
        "#]],
    );
    assert_eq!(folder.read("backout.toml"), before);
}

#[test]
fn new_rights_keep_the_form_and_the_comments_of_those_that_are_there() {
    let cases = [
        (
            "[\"read\"]",
            expect![[r#"
            database.orders = { is = "shop-prod", may = ["read", "backup", "restore", "fence"] } # end
        "#]],
        ),
        (
            "[\"read\",]",
            expect![[r#"
            database.orders = { is = "shop-prod", may = ["read", "backup", "restore", "fence",] } # end
        "#]],
        ),
        (
            "[ 'read', # why\n]",
            expect![[r#"
            database.orders = { is = "shop-prod", may = [ 'read', # why
                "backup", "restore", "fence",
            ] } # end
        "#]],
        ),
        (
            "[\n  # first\n  \"read\" # why\n  # last\n]",
            expect![[r#"
            database.orders = { is = "shop-prod", may = [
              # first
              "read", # why
              "backup",
              "restore",
              "fence"
              # last
            ] } # end
        "#]],
        ),
    ];
    for (may, expected) in cases {
        let folder = host(&format!(
            "{SITE}\n[allow.\"acme/shop\"]\nservice.shop.may = [\"control\"]\ntree.app.may = [\"backup\", \"restore\", \"write\"]\ndatabase.orders = {{ is = \"shop-prod\", may = {may} }} # end\n"
        ));
        let said = folder.backout(&["allow", "--yes", "shop"]);
        assert_eq!(said.code, 0, "{}", said.err);
        let text = folder.read("backout.toml");
        expected.assert_eq(&text[text.find("database.orders").unwrap()..]);
    }
}

#[test]
fn allow_asks_once_on_a_terminal() {
    let folder = host(SITE);
    for (answer, code) in [("n", 3), ("", 3), ("yes please", 3), ("y", 0)] {
        let mut terminal = Terminal::backout(folder.path(), "allow shop");
        terminal.shows("[y/N]");
        terminal.types(answer);
        let (said, ended) = terminal.ends();
        assert_eq!(ended, code, "{said}");
        assert_eq!(said.matches("[y/N]").count(), 1, "{said}");
        let changed = folder.read("backout.toml") != SITE;
        assert_eq!(changed, code == 0, "{said}");
    }
}

/// Lines that went (`-`) and came (`+`); both texts have the others in the same order.
fn difference(before: &str, after: &str) -> String {
    let (before, after): (Vec<_>, Vec<_>) = (before.lines().collect(), after.lines().collect());
    let mut out = String::new();
    let mut old = before.iter().peekable();
    for line in &after {
        if old.peek() == Some(&line) {
            old.next();
        } else if let Some(skipped) = old.clone().position(|o| o == line) {
            for _ in 0..skipped {
                out.push_str(&format!("- {}\n", old.next().unwrap()));
            }
            old.next();
        } else {
            out.push_str(&format!("+ {line}\n"));
        }
    }
    for line in old {
        out.push_str(&format!("- {line}\n"));
    }
    out
}
