//! Signed heads: what they prove, and that a process that was killed looks like nothing but that.
use super::{chain_anew, findings, sql, told};
use crate::{past::Site, story};
use backout::journal::{Head, Header, Journal};
use std::{fs, os::unix::fs::PermissionsExt, sync::Arc};

fn head(site: &Site) -> String {
    fs::read_to_string(site.state().join("journal.head")).unwrap()
}

#[tokio::test]
async fn the_key_is_private_and_told_nobody() {
    let site = told().await;
    let key = site.state().join("journal.key");
    assert_eq!(fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
    let secret = fs::read(&key).unwrap();
    // PKCS #8: the seed is the 32 bytes behind the names of the algorithm.
    let seed = &secret[16..48];
    let hex: String = seed.iter().map(|byte| format!("{byte:02x}")).collect();
    for file in ["journal.db", "journal.head"] {
        let bytes = fs::read(site.state().join(file)).unwrap();
        assert!(!bytes.windows(32).any(|window| window == seed), "{file}");
        assert!(!String::from_utf8_lossy(&bytes).contains(&hex), "{file}");
    }
    assert!(!site.says(0, &["audit", "--json"]).contains(&hex));

    fs::set_permissions(&key, fs::Permissions::from_mode(0o640)).unwrap();
    let found = findings(&site.journal());
    assert_eq!(found, [format!("journal {}: can be read by others than its owner", key.display())]);
}

/// Killed between the commit and the head: the head is one of before.
#[tokio::test]
async fn a_head_that_lags_behind_is_no_finding() {
    let site = Site::new();
    site.tell_now(&story::rolled_back()).await;
    let before = head(&site);
    site.tell_now(&story::upgraded()).await;
    fs::write(site.state().join("journal.head"), &before).unwrap();
    assert_eq!(findings(&site.journal()), [""; 0]);
    let said = site.says(0, &["audit"]);
    assert!(said.contains(" behind it are not signed yet\n"), "{said}");
    // The next run signs all that stands there then.
    site.tell_now(&story::refused()).await;
    assert_ne!(head(&site), before);
    assert_eq!(findings(&site.journal()), [""; 0]);
}

/// Killed before the very first head.
#[test]
fn a_first_run_that_was_killed_before_it_signed_is_no_finding() {
    let site = Site::new();
    fs::create_dir_all(site.state()).unwrap();
    drop(Journal::begin(&site.journal(), Header::default(), Arc::new(|_| ())).unwrap());
    fs::remove_file(site.state().join("journal.head")).unwrap();
    assert_eq!(findings(&site.journal()), [""; 0]);
}

#[tokio::test]
async fn a_head_that_is_gone_or_not_signed_is_found() {
    let site = told().await;
    let path = site.state().join("journal.head");
    let line = head(&site);
    let number = line.split(' ').nth(2).unwrap();
    let unsigned = "does not bear the signature of its key";
    let cases = [
        (line.replacen(number, "12", 1), unsigned),
        (line.replacen(" 1 ", " 2 ", 1), "is no signed head"),
        (line.replacen(&format!(" {number} "), &format!(" 0{number} "), 1), unsigned),
        (line.replacen(&format!(" {number} "), &format!(" +{number} "), 1), unsigned),
        (line[..line.len() - 3].to_owned(), "is no signed head"),
        (line.to_uppercase(), "is no signed head"),
        (format!("{line}{line}"), "is no signed head"),
        (String::new(), "is no signed head"),
        ("x".repeat(5000), "is too long"),
    ];
    for (changed, expected) in cases {
        fs::write(&path, &changed).unwrap();
        let found = findings(&site.journal());
        assert_eq!(found, [format!("journal {}: {expected}", path.display())], "{changed}");
        // Nor does a later run put another in its place.
        drop(Journal::begin(&site.journal(), Header::default(), Arc::new(|_| ())).unwrap());
        assert_eq!(fs::read_to_string(&path).unwrap(), changed);
    }
    fs::remove_file(&path).unwrap();
    let gone = "there is no signed head beside the journal, although runs have ended: it was removed, or never written";
    assert_eq!(findings(&site.journal()), [gone]);
}

/// A run that begins on a journal that was cut off does not sign that as if it were whole.
#[tokio::test]
async fn later_runs_do_not_hide_that_a_journal_was_cut_off() {
    let site = told().await;
    let before = head(&site);
    sql(&site.journal(), "DELETE FROM entry WHERE id > 20");
    for _ in 0..4 {
        site.tell_now(&story::upgraded()).await;
    }
    assert_eq!(head(&site), before);
    let found = findings(&site.journal());
    assert!(found.iter().any(|line| line.contains("it is not what was signed as entry ")), "{found:#?}");
}

#[tokio::test]
async fn a_head_that_was_kept_elsewhere_is_held_against_the_journal() {
    let site = Site::new();
    site.tell_now(&story::rolled_back()).await;
    let kept = head(&site);
    let file = site.journal().with_file_name("kept");
    fs::write(&file, &kept).unwrap();
    let (line, file) = (kept.trim(), file.to_str().unwrap());
    site.tell_now(&story::upgraded()).await;
    site.says(0, &["audit", "--head", line]);
    site.says(0, &["audit", "--head", file, "--head", head(&site).trim()]);

    // With the journal all is written anew that lies beside it.
    sql(&site.journal(), "UPDATE entry SET at = at + 1 WHERE id = 7");
    chain_anew(&site.journal());
    for name in ["journal.head", "journal.key"] {
        fs::remove_file(site.state().join(name)).unwrap();
    }
    site.tell_now(&story::refused()).await;
    site.says(0, &["audit"]);
    let entry = line.parse::<Head>().unwrap().entry;
    let said = site.says(10, &["audit", "--head", line]);
    let rewritten = format!("✗ entry {entry}: it is not what was signed as entry {entry}: ");
    assert!(said.starts_with(&rewritten), "{said}");
    assert!(said.contains("✗ the journal is signed with another key than the head that was kept\n"), "{said}");
    sql(&site.journal(), "DELETE FROM entry");
    let said = site.says(10, &["audit", "--head", file]);
    assert!(
        said.contains(&format!("✗ entry {entry} was signed, and the journal ends with entry 0: cut off\n")),
        "{said}"
    );

    let said = site.says(3, &["audit", "--head", "backout-head 1 2 3"]);
    assert!(said.starts_with("error: the head is no signed head\n"), "{said}");
    let said = site.says(3, &["audit", "--head", "nowhere"]);
    assert!(said.starts_with("error: nowhere is not there\n"), "{said}");
}
