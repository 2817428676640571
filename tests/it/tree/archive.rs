//! Copies in a repository, read by restic as well, and brought back from it.
use super::{copies::full, *};
use crate::support::{
    disk::{Disk, with_mounts},
    restic::{Archives, PASSWORD, cut, flip},
};
use backout::resource::{copies::Snapshot, repository::Repository};
use std::fs::File;

/// A tree whose copies are archived, and where.
fn archived() -> (Place, Archives) {
    let mut place = Place::new();
    let archives = Archives::create(&place.dir.path().join("offsite"));
    place.again(|section| section.archive = Some(archives.repository()));
    (place, archives)
}

async fn take(place: &Place) -> Snapshot {
    place.change().take("7-app", &place.call()).await.unwrap()
}

/// The content of the sparse file is too long for a picture.
fn look(place: &Place) -> BTreeMap<String, String> {
    let sparse = place.at("sparse");
    if !sparse.exists() {
        return picture(&place.tree());
    }
    assert!(sparse.metadata().unwrap().blocks() * 512 < 1 << 20, "it is sparse no more");
    let moved = place.dir.path().join("sparse-elsewhere");
    let times = fs::FileTimes::new().set_modified(place.tree().metadata().unwrap().modified().unwrap());
    fs::rename(&sparse, &moved).unwrap();
    File::open(place.tree()).unwrap().set_times(times).unwrap();
    let picture = picture(&place.tree());
    fs::rename(&moved, &sparse).unwrap();
    File::open(place.tree()).unwrap().set_times(times).unwrap();
    picture
}

#[tokio::test]
async fn an_archive_comes_back_equal_in_everything_and_restic_reads_it() {
    let (place, archives) = archived();
    full(&place);
    let before = look(&place);
    let snapshot = take(&place).await;
    assert_eq!((snapshot.proven, snapshot.method.as_str(), snapshot.copied), (true, "archive", 6));
    assert!(!place.standby().exists(), "no room is taken beside the tree");
    assert_eq!(place.look().fingerprint(&place.call()).await.unwrap(), snapshot.fingerprint);
    place.look().inspect(&snapshot, &place.call()).await.unwrap();

    archives.are_whole();
    assert_eq!(archives.tags(), ["7-app backout proven tree.app"]);
    assert_eq!(archives.restic(&["dump", "latest", "/app/conf/shop.toml"]), b"port = 80\n");
    let listed = String::from_utf8(archives.restic(&["ls", "--long", "latest"])).unwrap();
    for line in ["/app/a-second-name", "/app/dangling -> /nowhere/at all", "/app/empty"] {
        assert!(listed.contains(line), "{listed}");
    }

    // As an upgrade leaves it.
    fs::remove_dir_all(place.at("conf")).unwrap();
    place.file("bin/shop", "2.0");
    place.file("new", "");
    let loss = place.look().loss(&snapshot, &place.call()).await.unwrap();
    let parts: Vec<_> = loss.iter().map(|lost| (lost.part.as_str(), lost.rows, lost.changed, lost.missing)).collect();
    assert_eq!(parts, [("bin", 0, 1, 0), ("conf", 0, 0, 1), ("new", 1, 0, 0)]);
    let restored = place.change().exchange(&snapshot, &place.call()).await.unwrap();
    assert_eq!((restored.exchanged, &restored.lost), (true, &loss));
    assert_eq!(look(&place), before);
    let mut origin = [0; 6];
    rustix::fs::getxattr(place.at("bin/shop"), "user.origin", &mut origin[..]).unwrap();
    assert_eq!(&origin, b"vendor");
    assert_eq!(fs::read_to_string(place.slot().join("aside/bin/shop")).unwrap(), "2.0", "what was live is kept");
    // What is written down before the point of no return names the archive.
    let evidence = place.evidence();
    let id = evidence[0]["archive"].as_str().unwrap();
    assert!(snapshot.place.ends_with(&format!("offsite:{id}")), "{} {id}", snapshot.place);
    assert!(archives.files("snapshots")[0].ends_with(id));

    place.change().discard(&snapshot, &place.call()).await.unwrap();
    assert!(!place.dir.path().join(".backout").exists());
    assert_eq!(archives.tags(), [""; 0]);
    archives.are_whole();
    assert_eq!(look(&place), before, "what is live is never touched by that");
}

#[tokio::test]
async fn a_refresh_writes_what_is_new_and_the_archive_before_it_stays_until_all_is_freed() {
    let (place, archives) = archived();
    full(&place);
    place.file("big", (0..3_000_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect::<Vec<_>>());
    let first = take(&place).await;
    let packs = archives.files("data").len();
    let same = place.change().refresh(&first, &place.call()).await.unwrap();
    assert_eq!((same.copied, &same.fingerprint, same.place == first.place), (0, &first.fingerprint, false));
    assert_eq!(archives.files("data").len(), packs, "nothing is written twice");
    // Same size, same time.
    let conf = place.at("conf/shop.toml");
    let time = conf.metadata().unwrap().modified().unwrap();
    fs::write(&conf, "port = 81\n").unwrap();
    File::open(&conf).unwrap().set_modified(time).unwrap();
    let second = place.change().refresh(&same, &place.call()).await.unwrap();
    assert_eq!(second.copied, 2, "both names of the file");
    for snapshot in [&first, &same, &second] {
        place.look().inspect(snapshot, &place.call()).await.unwrap();
    }
    fs::write(&conf, "port = 82\n").unwrap();
    place.change().exchange(&second, &place.call()).await.unwrap();
    assert_eq!(place.text("conf/shop.toml"), "port = 81\n");
    refused(place.change().refresh(&second, &place.call()).await, FailureKind::Conflict, "live already");
    place.change().discard(&second, &place.call()).await.unwrap();
    assert_eq!(archives.tags(), [""; 0]);
    // Done twice is done once.
    place.change().discard(&second, &place.call()).await.unwrap();
    archives.are_whole();
}

#[tokio::test]
async fn damage_in_the_repository_is_found_before_anything_live_is_touched() {
    let (place, archives) = archived();
    full(&place);
    let snapshot = take(&place).await;
    place.file("bin/shop", "2.0");
    let live = look(&place);
    let whole = place.dir.path().join("whole");
    let copy = |from: &Path, to: &Path| {
        let done = std::process::Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap();
        assert!(done.success());
    };
    copy(&archives.at, &whole);
    type Damage = fn(&Archives);
    let damages: [(&str, Damage); 8] = [
        ("flipped in a pack", |a| a.files("data").iter().for_each(|pack| flip(pack, 100))),
        ("a pack cut off", |a| a.files("data").iter().for_each(|pack| cut(pack, 20))),
        ("packs missing", |a| a.files("data").iter().for_each(|pack| fs::remove_file(pack).unwrap())),
        ("index cut off", |a| a.files("index").iter().for_each(|index| cut(index, 40))),
        ("index empty", |a| a.files("index").iter().for_each(|index| cut(index, 0))),
        ("index missing", |a| a.files("index").iter().for_each(|index| fs::remove_file(index).unwrap())),
        ("snapshot flipped", |a| a.files("snapshots").iter().for_each(|file| flip(file, 30))),
        ("config cut off", |a| cut(&a.at.join("config"), 10)),
    ];
    for (what, damage) in damages {
        damage(&archives);
        let inspected = place.look().inspect(&snapshot, &place.call()).await.unwrap_err();
        let exchanged = place.change().exchange(&snapshot, &place.call()).await.unwrap_err();
        for failure in [inspected, exchanged] {
            assert!(failure.message.contains("repository `offsite`"), "{what}: {failure:?}");
            assert!(
                !failure.message.contains(place.dir.path().to_str().unwrap()),
                "{what}: scripts hear no paths: {failure:?}"
            );
        }
        assert_eq!(look(&place), live, "{what}");
        assert!(!place.standby().exists(), "{what}");
        fs::remove_dir_all(&archives.at).unwrap();
        copy(&whole, &archives.at);
    }
    // One bit in any pack is enough, wherever it is.
    for pack in archives.files("data") {
        for at in [0, pack.metadata().unwrap().len() / 2] {
            flip(&pack, at);
            assert!(place.look().inspect(&snapshot, &place.call()).await.is_err(), "{} {at}", pack.display());
            flip(&pack, at);
        }
    }
    assert!(place.evidence().is_empty(), "nothing was begun");
    place.change().exchange(&snapshot, &place.call()).await.unwrap();
    assert_eq!(place.at("bin/shop").metadata().unwrap().len(), 300_000);
}

#[tokio::test]
async fn a_repository_that_cannot_be_used_is_named() {
    let (mut place, archives) = archived();
    place.file("a", "1");
    let snapshot = take(&place).await;
    let with = |place: &mut Place, at: &Path, password: &str| {
        let repository = Repository::new("offsite", at, password.to_owned());
        place.again(|section| section.archive = Some(repository));
    };
    with(&mut place, &archives.at, "wrong");
    refused(
        place.change().take("8-app", &place.call()).await,
        FailureKind::Unavailable,
        "password of repository `offsite` is wrong",
    );
    refused(place.look().inspect(&snapshot, &place.call()).await, FailureKind::Unavailable, "password");
    refused(place.change().exchange(&snapshot, &place.call()).await, FailureKind::Unavailable, "password");
    refused(place.change().discard(&snapshot, &place.call()).await, FailureKind::Unavailable, "password");
    // A folder in which nothing is mounted.
    fs::create_dir(place.dir.path().join("empty")).unwrap();
    let empty = place.dir.path().join("empty");
    with(&mut place, &empty, PASSWORD);
    refused(place.change().take("8-app", &place.call()).await, FailureKind::Unavailable, "no repository `offsite`");
    assert_eq!(names(&empty), [""; 0], "none is made by itself");
    // Another repository than the one that it was archived in.
    let other = Archives::create(&place.dir.path().join("other"));
    with(&mut place, &other.at, PASSWORD);
    refused(
        place.change().exchange(&snapshot, &place.call()).await,
        FailureKind::Unproven,
        "is not in repository `offsite`",
    );
    // The site names none any more.
    place.again(|section| section.archive = None);
    refused(place.change().exchange(&snapshot, &place.call()).await, FailureKind::Conflict, "the site names none");
    // restic is at work.
    with(&mut place, &archives.at, PASSWORD);
    fs::write(archives.at.join("locks/somebody"), "").unwrap();
    refused(place.change().take("8-app", &place.call()).await, FailureKind::Conflict, "restic is at work");
    place.look().inspect(&snapshot, &place.call()).await.unwrap();
    fs::remove_file(archives.at.join("locks/somebody")).unwrap();
    // Another run prunes it, on this host or another.
    let lock = File::open(archives.at.join("backout.lock")).unwrap();
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).unwrap();
    refused(place.change().take("8-app", &place.call()).await, FailureKind::Conflict, "another run has it for itself");
    drop(lock);
    assert_eq!(place.text("a"), "1");
    assert_eq!(names(&place.dir.path().join(".backout/tree.app")), ["7-app"], "nothing is left of what was refused");
    assert_eq!(archives.repository().create().unwrap_err().kind, FailureKind::Conflict);
    place.change().exchange(&snapshot, &place.call()).await.unwrap();
}

#[tokio::test]
async fn what_a_killed_process_left_is_cleared_away() {
    let (place, archives) = archived();
    full(&place);
    // Given up in the middle, as by a deadline.
    place.file("big", vec![3; 1 << 20]);
    let mut taking = Box::pin(async { place.change().take("7-app", &place.call()).await });
    assert!(tokio::time::timeout(Duration::from_millis(30), &mut taking).await.is_err());
    drop(taking);
    place.look().quiet(&place.call()).await.unwrap();
    assert_eq!(archives.tags(), [""; 0]);
    let snapshot = take(&place).await;
    // As a kill leaves a restore: without a proof, so nothing of it is believed.
    fs::create_dir(place.standby()).unwrap();
    fs::write(place.standby().join("half"), "half").unwrap();
    place.file("bin/shop", "2.0");
    place.change().exchange(&snapshot, &place.call()).await.unwrap();
    assert!(!place.at("half").exists());
    assert_eq!(place.at("bin/shop").metadata().unwrap().len(), 300_000);
}

#[test]
fn full_disks_on_either_side() {
    with_mounts("tree::archive::full_disks_on_either_side", || {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(full_disks());
    });
}

async fn full_disks() {
    let mut place = Place::new();
    let (home, archives) = (place.dir.path().join("home"), Archives { at: place.dir.path().join("offsite") });
    fs::create_dir_all(home.join("tree")).unwrap();
    let tree_disk = Disk::under(&home, "size=16m");
    let disk = Disk::under(&archives.at, "size=16m");
    archives.repository().create().unwrap();
    let mut random = Vec::new();
    std::io::Read::read_to_end(&mut std::io::Read::take(File::open("/dev/urandom").unwrap(), 6 << 20), &mut random)
        .unwrap();
    fs::write(home.join("tree/big"), &random).unwrap();
    place.again(|section| (section.path, section.archive) = (home.join("tree"), Some(archives.repository())));
    disk.fill(2 << 20);
    refused(
        place.change().take("7-app", &place.call()).await,
        FailureKind::Failed,
        "no room left in repository `offsite`",
    );
    assert!(!home.join(".backout").exists());
    disk.free();
    assert_eq!(archives.tags(), [""; 0]);
    let snapshot = take(&place).await;
    archives.are_whole();

    fs::write(home.join("tree/big"), "2.0").unwrap();
    tree_disk.fill(3 << 20);
    refused(
        place.change().exchange(&snapshot, &place.call()).await,
        FailureKind::Failed,
        "comes back from the archive needs",
    );
    assert_eq!(fs::read_to_string(home.join("tree/big")).unwrap(), "2.0");
    assert!(place.evidence().is_empty());
    tree_disk.free();
    place.change().exchange(&snapshot, &place.call()).await.unwrap();
    assert_eq!(fs::read(home.join("tree/big")).unwrap(), random);
}
