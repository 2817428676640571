//! Plans that were accepted.
use super::{HOSTILE, commands, in_github, package, read_back, test};
use crate::support::{faulty, packages::Folder};
use backout::{cli::demo::releases::Version, package::Package};
use expect_test::expect;
use std::{fs, os::unix::fs::symlink};

#[test]
fn a_plan_that_was_accepted_is_held_against_what_is_planned_now() {
    let folder = Folder::new();
    package(&folder, "");
    let (golden, digest) = (format!("{HOSTILE}/tests/plan.txt"), || Package::open(&folder.at(HOSTILE)).unwrap().digest);
    let before = digest();
    let said = test(&folder, &["--accept"]);
    assert_eq!(said.code, 0, "{}", said.whole());
    assert_eq!(said.err, format!("the plan is accepted, and written to {golden}\n"));
    let plan = folder.backout(&["plan", "--offline", "--cache", super::cache(), HOSTILE]);
    assert_eq!(folder.read(&golden), plan.out);
    assert_eq!(digest(), before, "it is no part of what runs");
    assert!(test(&folder, &[]).out.contains("✓ plan   as accepted"));
    assert_eq!(test(&folder, &["--accept"]).err, format!("{golden} has this plan already\n"));
    // As another system checks it out.
    folder.write(&golden, plan.out.replace('\n', "\r\n"));
    assert_eq!(test(&folder, &[]).code, 0);

    // Another script, whose rollback forgets the files.
    faulty::write("forgets", Version::V2Good, &folder.at(HOSTILE));
    folder.write(&golden, plan.out);
    let said = in_github(&folder, &["test", "--paths", "5"]);
    assert_eq!(said.code, 10);
    let told = said.out.lines().skip_while(|line| !line.starts_with("✗ plan")).skip(1);
    let told = told.map_while(|line| line.strip_prefix("         "));
    let told: String = told.map(|line| format!("{line}\n")).collect();
    expect![[r#"
        expected the plan that was accepted
              is another one
          @@ -30,5 +30,4 @@
                      2  restore  Put 1.0 and its data back  2 s
                         ~ database orders: its stand-by becomes live, what was live is kept aside
          -              ~ tree app: its stand-by becomes live, what was live is kept aside
                      3  reopen   Start 1.0                  2 s
                         ~ service shop: stopped → running
          @@ -41,2 +40,5 @@
             upgrade/watch: metrics.watch shop
             verify/answers: probe.check shop
          +
          +✗ not-restored          tree app is not as it was, changed by upgrade/install (files.install app)
          +                        add `backup.restore` of it to a step of the rollback
          `backout test --accept` accepts the plan as it is
    "#]]
    .assert_eq(&told);
    let shown: Vec<_> = commands(&said.err).into_iter().map(read_back).collect();
    let (properties, text) = shown.last().unwrap();
    assert_eq!(properties[0].1, golden);
    assert_eq!(properties[1].1, "32");
    assert!(text.contains("\n  -              ~ tree app: its stand-by becomes live"), "{text}");
    assert!(folder.read("summary.md").contains("\n      -              ~ tree app: its stand-by becomes live"));
    assert!(test(&folder, &["--accept"]).out.contains("✓ plan"));
}

#[test]
fn a_plan_is_accepted_nowhere_else() {
    let folder = Folder::new();
    package(&folder, "");
    let golden = format!("{HOSTILE}/tests/plan.txt");
    folder.write("elsewhere/plan.txt", "mine");
    let tests = folder.at(HOSTILE).join("tests");
    let refused = |link: &str| {
        for arguments in [&["--accept"][..], &[]] {
            let said = test(&folder, arguments);
            assert_eq!(said.code, 3, "{}", said.whole());
            let why = format!("{link} is a link: the accepted plan is not read or written there");
            assert!(said.err.starts_with(&why) || said.err.starts_with("the folder `tests`: a link"), "{}", said.err);
        }
        assert_eq!(folder.read("elsewhere/plan.txt"), "mine");
    };
    symlink(folder.at("elsewhere"), &tests).unwrap();
    refused("tests");
    fs::remove_file(&tests).unwrap();
    fs::create_dir(&tests).unwrap();
    for to in [folder.at("elsewhere/plan.txt"), folder.at("nowhere")] {
        symlink(to, tests.join("plan.txt")).unwrap();
        refused("tests/plan.txt");
        fs::remove_file(tests.join("plan.txt")).unwrap();
    }
    fs::create_dir(tests.join("plan.txt")).unwrap();
    assert_eq!(test(&folder, &[]).code, 3);
    assert_eq!(test(&folder, &["--accept"]).code, 1);
    fs::remove_dir(tests.join("plan.txt")).unwrap();
    folder.write(&golden, b"\xff");
    assert!(test(&folder, &[]).err.contains("tests/plan.txt is not UTF-8"));
    let said = folder
        .backout_with(&[("CI", "true")], &["test", "--accept", "--paths", "5", "--cache", super::cache(), HOSTILE]);
    assert_eq!(said.code, 0);
    assert!(
        said.err
            .ends_with("this is a pipeline: the plan counts when somebody has looked at it and committed the file\n")
    );
}
