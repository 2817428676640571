//! What lies where: the state of the host, links, folders in folders.
use super::{SITE, host, permit};
use crate::support::{bench::BACKOUT, disk::with_mounts, packages::Folder};
use backout::{
    journal::{Header, Journal},
    site::Site,
};
use expect_test::{Expect, expect};
use std::{process::Command, sync::Arc};

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
fn a_link_at_the_end_does_not_hide_where_the_state_is() {
    let folder = host();
    folder.folder("srv/shop/state");
    std::os::unix::fs::symlink("srv/shop/state", folder.at("state")).unwrap();
    let mistakes = Site::load(&folder.at("backout.toml")).unwrap_err();
    let messages: Vec<String> = mistakes.0.into_iter().map(|mistake| mistake.message).collect();
    expect!["Backout's state srv/shop/state lies in tree `shop-app`"].assert_eq(&folder.plain(&messages.join("\n")));
}

/// What a run takes back, seen under another name: no path tells.
#[test]
fn the_journal_is_never_on_what_is_taken_back_whatever_it_is_mounted_as() {
    with_mounts("site::places::the_journal_is_never_on_what_is_taken_back_whatever_it_is_mounted_as", || {
        let folder = host();
        let place = |from: &str, to: &str| {
            let done = Command::new("mount").arg("--bind").arg(folder.at(from)).arg(folder.at(to)).status().unwrap();
            assert!(done.success());
        };
        folder.write("srv/shop/versions/1.4.2/bin/shop", "#!/bin/sh\n");
        permit(&folder, "srv/shop/versions/1.4.2/bin/shop", 0o755);
        for name in ["srv/shop/inner/state", "srv/.backout/state", "above", "part", "copies"] {
            folder.folder(name);
        }
        place("srv", "above");
        place("srv/shop/inner", "part");
        place("srv/.backout", "copies");
        let refused = |state: &str| {
            folder.write("backout.toml", SITE.replace("state = \"state\"", &format!("state = \"{state}\"")));
            let said = folder.backout(&["check"]);
            assert_eq!(said.code, 3, "{state}: {}", said.whole());
            said.whole()
        };
        let states = ["above/shop/inner/state", "part/state", "part/new/state"];
        let said = states.map(refused);
        let besides = refused("copies/state");
        let allowed = {
            folder.write("backout.toml", SITE.replace("state = \"state\"", "state = \"above/state\""));
            Site::load(&folder.at("backout.toml")).unwrap().survey().0.len()
        };
        for name in ["above", "part", "copies"] {
            assert!(Command::new("umount").arg("--lazy").arg(folder.at(name)).status().unwrap().success());
        }
        for (state, said) in states.iter().zip(said) {
            let words = format!("tree `shop-app`: Backout's state {state} lies in it, by another name");
            assert!(said.contains(&words) && said.contains("a rollback would take it back too"), "{said}");
        }
        assert!(besides.contains("Backout's state copies/state lies among its copies"), "{besides}");
        assert_eq!(allowed, 0, "beside them is well");
    });
}

/// By its own path, and by another name of the same file.
#[test]
fn the_journal_is_never_the_database_that_is_rolled_back() {
    let folder = host();
    folder.write("srv/shop/versions/1.4.2/bin/shop", "#!/bin/sh\n");
    permit(&folder, "srv/shop/versions/1.4.2/bin/shop", 0o755);
    folder.folder("state");
    let journal = folder.at("state/journal.db");
    drop(Journal::begin(&journal, Header::default(), Arc::new(|_| ())).unwrap());
    let refused = |path: &str| {
        folder.write("backout.toml", SITE.replace("srv/shop.db", path));
        let said = folder.backout(&["check"]);
        assert_eq!(said.code, 3, "{path}: {}", said.whole());
        said.whole()
    };
    expect![[r#"
        backout.toml:7:11: database `shop-prod` lies in Backout's state
           |
         7 | [database.shop-prod]
           |           ^^^^^^^^^
           = what a run changes and what it keeps must be apart

        backout.toml: 1 mistake
        ── exit 3
    "#]]
    .assert_eq(&refused("state/journal.db"));
    std::fs::hard_link(&journal, folder.at("srv/other.db")).unwrap();
    expect![[r#"
        backout.toml:7:11: database `shop-prod`: srv/other.db has 2 names (hard links)
           |
         7 | [database.shop-prod]
           |           ^^^^^^^^^
           = an exchange would leave the other names with the other data: remove them

        backout.toml:7:11: database `shop-prod`: it is Backout's own journal
           |
         7 | [database.shop-prod]
           |           ^^^^^^^^^
           = a rollback would take it back too: put it outside

        backout.toml: 2 mistakes
        ── exit 3
    "#]]
    .assert_eq(&refused("srv/other.db"));
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

/// In whatever way a command line or its environment leads there.
#[test]
fn root_runs_nothing_that_a_package_may_write() {
    let folder = host();
    let as_root = |lines: &str| {
        folder.write("backout.toml", format!("{SITE}\n[tool.sly]\nuser = \"root\"\n{lines}\n"));
        match Site::load(&folder.at("backout.toml")) {
            Ok(_) => Vec::new(),
            Err(mistakes) => mistakes.0.into_iter().map(|mistake| mistake.message).collect(),
        }
    };
    for lines in [
        "run = [\"sh\", \"srv/shop/run.sh\"]",
        "run = [\"python3\", \"shop\"]\ndir = \"srv\"",
        "run = [\"nginx\", \"--config=srv/shop/nginx.conf\"]",
        "run = [\"perl\", \"-Isrv/shop/lib\", \"-e\", \"use Shop\"]",
        "run = [\"sh\", \"-c\", \"cd srv/shop && ./run.sh\"]",
        "run = [\"serve\"]\nenv.PATH = \"/usr/bin:srv/shop/bin\"",
        "run = [\"serve\"]\nenv.LD_PRELOAD = \"srv/shop/lib.so\"",
        "run = [\"serve\"]\ncheck = { run = [\"srv/shop/served\"] }",
        "run = [\"serve\"]\nenv.JAVA_OPTS = \"-javaagent:srv/shop/agent.jar\"",
    ] {
        assert_eq!(as_root(lines), ["tool `sly` would run as root what `acme/shop` may write"], "{lines}");
    }
    for lines in [
        "run = [\"sh\", \"srv/shopping/run.sh\"]",
        "run = [\"serve\", \"shop\"]\nenv = { PATH = \"/usr/bin:/bin\", MODE = \"shop\" }",
    ] {
        assert_eq!(as_root(lines), [""; 0], "{lines}");
    }
}

/// Another name for the account of root is no other account.
#[test]
fn an_account_of_another_name_is_root_all_the_same() {
    with_mounts("site::places::an_account_of_another_name_is_root_all_the_same", || {
        let folder = host();
        let tool = "[tool.sly]\nrun = [\"sh\", \"srv/shop/run.sh\"]\nuser = \"boss\"\n";
        folder.write("backout.toml", format!("{SITE}\n{tool}"));
        folder.write("passwd", "root:x:0:0::/root:/bin/sh\nboss:x:0:0::/root:/bin/sh\n");
        let script = "mount --bind passwd /etc/passwd && exec \"$0\" check";
        let mut check = Command::new("unshare");
        check.args(["--mount", "--", "sh", "-c", script, BACKOUT]).current_dir(folder.path());
        let output = check.env_remove("BACKOUT_SITE").output().unwrap();
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert!(said.contains("tool `sly` would run as root what `acme/shop` may write"), "{said}");
    });
}
