//! The demo's product with its trees and its database archived: a bad upgrade that goes back, killed while an archive is written and while one is brought
//! back, and gone on with.
use crate::support::{
    bench::{alive, kill},
    files::files_below,
    restic::{Archives, PASSWORD},
    shop::{Shop, edit},
};
use backout::{cli::demo::releases::Version, site::Site};
use std::{
    fs,
    io::Read,
    os::unix::{fs::PermissionsExt, process::ExitStatusExt},
    path::Path,
    process::Child,
    time::Duration,
};

/// Both trees and the database go into a repository.
fn archiving() -> (Shop, Archives) {
    let mut shop = Shop::new(Version::V2Bad);
    let settings = "require = { settings = { watch = \"1s\", load = \"1s\", clients = 2 } }";
    shop.edit_site("versions = \"2.*\"", &format!("versions = \"2.*\"\n{settings}"));
    for path in ["srv/app", "srv/config", "srv/data/shop.db"] {
        let line = format!("path = \"{path}\"");
        shop.edit_site(&line, &format!("{line}\nmethod = \"archive\"\nrepository = \"offsite\"\n#"));
    }
    let at = shop.folder.path("backup/shop");
    fs::create_dir_all(at.parent().unwrap()).unwrap();
    let secret = shop.folder.path("secrets/repository");
    fs::create_dir_all(secret.parent().unwrap()).unwrap();
    fs::write(&secret, format!("{PASSWORD}\n")).unwrap();
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
    let site = shop.site();
    let section = "[repository.offsite]\npath = \"backup/shop\"\npassword = { file = \"secrets/repository\" }\n";
    let text = fs::read_to_string(&site).unwrap();
    fs::write(&site, format!("{text}\n{section}")).unwrap();
    let mut ballast = Vec::new();
    fs::File::open("/dev/urandom").unwrap().take(48 << 20).read_to_end(&mut ballast).unwrap();
    fs::write(shop.folder.path("srv/app/ballast"), ballast).unwrap();
    shop.open();
    (shop, Archives { at })
}

/// Killed as soon as it has come so far.
fn killed_when(mut child: Child, so_far: impl Fn() -> bool) {
    let pid = i32::try_from(child.id()).unwrap();
    while !so_far() {
        assert!(alive(pid), "it ended before: {}", String::from_utf8_lossy(&child.wait_with_output().unwrap().stderr));
        std::thread::sleep(Duration::from_millis(1));
    }
    kill(pid, "KILL");
    assert_eq!(child.wait().unwrap().signal(), Some(9));
}

fn standby(shop: &Shop) -> bool {
    let below = |folder: &Path| fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    below(&shop.folder.path("srv/.backout/tree.app")).any(|slot| slot.join("standby").exists())
}

#[test]
fn a_life_with_archives_is_killed_and_goes_on() {
    let (shop, archives) = archiving();
    let package = shop.package();
    let package = package.to_str().unwrap();
    let said = shop.expect(10, &["plan", package]);
    assert!(
        said.contains("there is no repository `offsite`") && said.contains("backout repository create offsite"),
        "{said}"
    );
    shop.expect(0, &["repository", "create", "offsite"]);
    assert!(shop.expect(3, &["repository", "create", "offsite"]).contains("there is a repository already"));
    let plan = shop.expect(0, &["plan", package]);
    for words in [
        "tree app: an archive is written into repository offsite, read back and compared, file by file",
        "database shop: an archive is written into repository offsite, read back and compared, table by table",
        "an archive of tree app takes at most 5",
        "an archive of database shop takes at most ",
        " MB in repository offsite (free ",
    ] {
        assert!(plan.contains(words), "no {words} in\n{plan}");
    }
    let before = shop.proof();

    killed_when(shop.spawn(&["upgrade", "--yes", package]), || files_below(&archives.at.join("data")).len() > 1);
    assert!(!archives.files("data").is_empty());
    // It goes on, the new version fails, and it is killed once more on its way back.
    killed_when(shop.spawn(&["resume", "--yes"]), || standby(&shop));
    let tags = archives.tags();
    assert!(tags.iter().all(|tags| tags.contains("proven")), "what was cut off is cleared away: {tags:?}");
    assert_eq!(tags.len(), 6, "taken and refreshed: {tags:?}");
    let said = shop.expect(4, &["resume", "--yes"]);
    assert!(said.contains("again, as before"), "{said}");
    shop.is_as(&before);
    archives.are_whole();
    assert!(shop.expect_out(&["restore-points"]).contains("acme/shop"), "archives survive their run");
    assert!(shop.expect(0, &["repository", "check", "offsite"]).contains("is whole"));
    shop.expect(0, &["commit", "--yes"]);
    assert_eq!(archives.tags(), [""; 0]);
    assert_eq!(shop.copies(), [""; 0]);
    shop.is_as(&before);
}

#[test]
fn what_a_site_says_of_archives_is_looked_at() {
    let (shop, _) = archiving();
    let site = shop.site();
    let said = shop.expect(3, &["check"]);
    assert!(said.contains("there is no repository `offsite`"), "{said}");
    for (from, to, mistake) in [
        ("repository = \"offsite\"", "repository = \"ofsite\"", "there is no repository `ofsite`"),
        ("method = \"archive\"", "method = \"achive\"", "`tree.app.method` cannot be `achive`"),
        ("method = \"archive\"", "method = \"achive\"", "`database.shop.method` cannot be `achive`"),
        ("method = \"archive\"", "method = \"stand-by\"", "is of no meaning without `method = \"archive\"`"),
        ("path = \"backup/shop\"", "path = \"srv/app/backup\"", "a repository of archives "),
        (
            "password = { file = \"secrets/repository\" }",
            "password = \"open\"",
            "holds a secret, and the site file holds none",
        ),
    ] {
        edit(&site, from, to);
        let mistakes = Site::load(&site).unwrap_err().to_string();
        assert!(mistakes.contains(mistake), "{mistakes}");
        assert!(!mistakes.contains("unknown key"), "{mistakes}");
        edit(&site, to, from);
    }
    Site::load(&site).unwrap();
    // A rehearsal leaves the repository alone: there is none, and it is not missed.
    assert!(shop.expect(3, &["repository", "check", "elsewhere"]).contains("it has: offsite"));
}
