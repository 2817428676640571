use super::*;
use backout::resource::copies::{Lost, Snapshot};
use std::{
    fs::{File, FileTimes, OpenOptions},
    os::unix::fs::{FileExt, symlink},
    sync::atomic::{AtomicBool, Ordering},
    time::SystemTime,
};

/// Everything that a tree may hold.
pub fn full(place: &Place) {
    place.file("bin/shop", [7; 300_000]);
    mode(&place.at("bin/shop"), 0o4755);
    place.file("conf/shop.toml", "port = 80\n");
    mode(&place.at("conf/shop.toml"), 0o640);
    fs::hard_link(place.at("conf/shop.toml"), place.at("a-second-name")).unwrap();
    fs::create_dir(place.at("empty")).unwrap();
    mode(&place.at("empty"), 0o1777);
    symlink("conf/shop.toml", place.at("current")).unwrap();
    symlink("/nowhere/at all", place.at("dangling")).unwrap();
    let sparse = File::create(place.at("sparse")).unwrap();
    sparse.set_len(1 << 30).unwrap();
    sparse.write_at(b"in the middle", 300_000_001).unwrap();
    let then = SystemTime::UNIX_EPOCH + Duration::new(1_000_000_000, 123_456_789);
    for path in ["bin/shop", "conf", "empty", "."] {
        File::open(place.at(path)).unwrap().set_times(FileTimes::new().set_modified(then)).unwrap();
    }
    if is_root() {
        std::os::unix::fs::lchown(place.at("dangling"), Some(1234), Some(5678)).unwrap();
        std::os::unix::fs::chown(place.at("conf/shop.toml"), Some(1234), Some(5678)).unwrap();
        std::os::unix::fs::chown(place.at("bin/shop"), Some(1234), Some(5678)).unwrap();
        mode(&place.at("bin/shop"), 0o6711);
    }
    rustix::fs::setxattr(place.at("bin/shop"), "user.origin", b"vendor", rustix::fs::XattrFlags::empty()).unwrap();
}

/// The content of the sparse file is too long for a picture.
fn pictures(place: &Place) -> (BTreeMap<String, String>, BTreeMap<String, String>) {
    let without = |folder: &Path| {
        let sparse = folder.join("sparse");
        let stat = sparse.metadata().unwrap();
        assert!(stat.blocks() * 512 < 1 << 20, "{} is not sparse", sparse.display());
        let mut middle = [0; 15];
        File::open(&sparse).unwrap().read_exact_at(&mut middle, 300_000_000).unwrap();
        assert_eq!(&middle, b"\0in the middle\0");
        let moved = folder.parent().unwrap().join("sparse-elsewhere");
        let times = FileTimes::new().set_modified(folder.metadata().unwrap().modified().unwrap());
        fs::rename(&sparse, &moved).unwrap();
        File::open(folder).unwrap().set_times(times).unwrap();
        let picture = picture(folder);
        fs::rename(&moved, &sparse).unwrap();
        File::open(folder).unwrap().set_times(times).unwrap();
        picture
    };
    (without(&place.tree()), without(&place.standby()))
}

async fn take(place: &Place) -> Snapshot {
    place.change().take("7-app", &place.call()).await.unwrap()
}

#[tokio::test]
async fn a_copy_is_equal_in_everything_and_closed_to_others() {
    let place = Place::new();
    full(&place);
    let snapshot = take(&place).await;
    assert!(snapshot.proven);
    assert_eq!((snapshot.id.as_str(), snapshot.copied, snapshot.fingerprint.count()), ("7-app", 6, 6));
    let (live, copy) = pictures(&place);
    assert_eq!(live, copy);
    let mut origin = [0; 6];
    rustix::fs::getxattr(place.standby().join("bin/shop"), "user.origin", &mut origin[..]).unwrap();
    assert_eq!(&origin, b"vendor");
    let names: Vec<u64> =
        ["conf/shop.toml", "a-second-name"].map(|n| place.standby().join(n).metadata().unwrap().ino()).to_vec();
    assert_eq!(names[0], names[1], "still one file");
    for folder in [".backout", ".backout/tree.app", ".backout/tree.app/7-app"] {
        assert_eq!(place.dir.path().join(folder).metadata().unwrap().mode() & 0o777, 0o700, "{folder}");
    }
    assert_eq!(place.look().fingerprint(&place.call()).await.unwrap(), snapshot.fingerprint);
    assert!(snapshot.bytes >= 300_000 && snapshot.bytes < 2 << 20, "{}", snapshot.bytes);
}

#[tokio::test]
async fn a_fingerprint_has_a_part_for_each_top_level_entry_and_sees_all_but_times() {
    let place = Place::new();
    full(&place);
    let before = place.look().fingerprint(&place.call()).await.unwrap();
    let parts: Vec<(&str, u64)> = before.parts.iter().map(|p| (p.name.as_str(), p.count)).collect();
    assert_eq!(
        parts,
        [
            (".", 0),
            ("a-second-name", 1),
            ("bin", 1),
            ("conf", 1),
            ("current", 1),
            ("dangling", 1),
            ("empty", 0),
            ("sparse", 1)
        ]
    );
    let differ = async || place.look().fingerprint(&place.call()).await.unwrap().differences(&before);
    File::open(place.at("bin/shop")).unwrap().set_modified(SystemTime::now()).unwrap();
    assert_eq!(differ().await, [""; 0], "only touched");
    fs::write(place.at(".backout-tmp-1234"), "half").unwrap();
    fs::create_dir(place.at("conf/.backout-staging-1234")).unwrap();
    assert_eq!(differ().await, [""; 0], "Backout's own, on its way");
    mode(&place.at("empty"), 0o700);
    assert_eq!(differ().await, ["empty has other content"]);
    mode(&place.at("."), 0o711);
    fs::remove_file(place.at("current")).unwrap();
    symlink("conf/other", place.at("current")).unwrap();
    rustix::fs::setxattr(place.at("bin/shop"), "user.origin", b"thief!", rustix::fs::XattrFlags::empty()).unwrap();
    fs::remove_file(place.at("a-second-name")).unwrap();
    fs::copy(place.at("conf/shop.toml"), place.at("a-second-name")).unwrap();
    if is_root() {
        std::os::unix::fs::chown(place.at("a-second-name"), Some(1234), Some(5678)).unwrap();
    }
    OpenOptions::new().write(true).open(place.at("sparse")).unwrap().write_at(b"!", 1 << 29).unwrap();
    place.file("empty/no more", "");
    assert_eq!(
        differ().await,
        [
            ". has other content",
            "bin has other content",
            // No second name any more.
            "conf has other content",
            "current has other content",
            "empty has 1, had 0",
            "sparse has other content"
        ]
    );
}

#[tokio::test]
async fn a_refresh_copies_what_differs_however_well_it_is_hidden() {
    let place = Place::new();
    full(&place);
    let snapshot = take(&place).await;
    let untouched = place.standby().join("bin/shop").metadata().unwrap();
    let same = place.change().refresh(&snapshot, &place.call()).await.unwrap();
    assert_eq!((same.copied, same.proven, &same.fingerprint), (0, true, &snapshot.fingerprint));

    // Same size, same time.
    let conf = place.at("conf/shop.toml");
    let time = conf.metadata().unwrap().modified().unwrap();
    OpenOptions::new().write(true).open(&conf).unwrap().write_at(b"X", 3).unwrap();
    File::open(&conf).unwrap().set_modified(time).unwrap();
    fs::remove_file(place.at("current")).unwrap();
    fs::create_dir(place.at("current")).unwrap();
    place.file("current/now a folder", "yes");
    fs::remove_dir(place.at("empty")).unwrap();
    place.file("empty", "now a file");
    fs::remove_file(place.at("dangling")).unwrap();
    mode(&place.at("bin"), 0o500);
    let fresh = place.change().refresh(&snapshot, &place.call()).await.unwrap();
    // Two names of one file, the file in the new folder, the file that was a folder.
    assert_eq!((fresh.copied, fresh.proven), (4, true));
    let (live, copy) = pictures(&place);
    assert_eq!(live, copy);
    let still = place.standby().join("bin/shop").metadata().unwrap();
    assert_eq!(
        (still.ino(), still.ctime_nsec()),
        (untouched.ino(), untouched.ctime_nsec()),
        "what is equal is left alone"
    );
    place.look().inspect(&fresh, &place.call()).await.unwrap();
    refused(place.look().inspect(&snapshot, &place.call()).await, FailureKind::Unproven, "refresh");
}

#[tokio::test]
async fn an_interrupted_refresh_proves_nothing_and_the_next_one_heals_it() {
    let place = Place::new();
    full(&place);
    let snapshot = take(&place).await;
    // As a crash leaves it after the first change.
    fs::remove_file(place.slot().join("proof")).unwrap();
    fs::write(place.standby().join("bin/shop"), "half").unwrap();
    refused(place.look().inspect(&snapshot, &place.call()).await, FailureKind::Unproven, "interrupted");
    refused(place.change().exchange(&snapshot, &place.call()).await, FailureKind::Unproven, "interrupted");
    assert!(place.evidence().is_empty(), "nothing was begun");
    let healed = place.change().refresh(&snapshot, &place.call()).await.unwrap();
    assert_eq!((healed.copied, healed.fingerprint == snapshot.fingerprint), (1, true));
    // A proof that was cut off is none.
    let proof = fs::read(place.slot().join("proof")).unwrap();
    fs::write(place.slot().join("proof"), &proof[..proof.len() / 2]).unwrap();
    refused(place.look().inspect(&healed, &place.call()).await, FailureKind::Unproven, "no proof");
    // The whole stand-by is gone.
    fs::remove_dir_all(place.slot()).unwrap();
    let again = place.change().refresh(&snapshot, &place.call()).await.unwrap();
    assert_eq!(again.copied, 6);
    place.look().inspect(&again, &place.call()).await.unwrap();
}

#[tokio::test]
async fn damage_after_the_proof_is_found() {
    let place = Place::new();
    full(&place);
    let snapshot = take(&place).await;
    type Damage = fn(&Path);
    let damages: [(&str, Damage); 5] = [
        ("bin/shop", |standby| {
            let path = standby.join("bin/shop");
            let time = path.metadata().unwrap().modified().unwrap();
            OpenOptions::new().write(true).open(&path).unwrap().write_at(b"!", 100).unwrap();
            File::open(&path).unwrap().set_modified(time).unwrap();
        }),
        ("conf/more", |standby| fs::write(standby.join("conf/more"), "").unwrap()),
        ("empty", |standby| fs::remove_dir(standby.join("empty")).unwrap()),
        ("conf", |standby| mode(&standby.join("conf"), 0o777)),
        ("current", |standby| {
            fs::remove_file(standby.join("current")).unwrap();
            symlink("/etc/passwd", standby.join("current")).unwrap();
        }),
    ];
    let mut snapshot = snapshot;
    for (path, damage) in damages {
        damage(&place.standby());
        refused(place.look().inspect(&snapshot, &place.call()).await, FailureKind::Unproven, &format!("`{path}`"));
        refused(place.change().exchange(&snapshot, &place.call()).await, FailureKind::Unproven, &format!("`{path}`"));
        snapshot = place.change().refresh(&snapshot, &place.call()).await.unwrap();
        place.look().inspect(&snapshot, &place.call()).await.unwrap();
    }
    let (live, copy) = pictures(&place);
    assert_eq!(live, copy);
}

#[tokio::test]
async fn damage_is_also_found_where_times_are_trusted() {
    let place = Place::new();
    place.file("a", "old and settled");
    let snapshot = take(&place).await;
    // Older than a clock's tick, so that it is known by its times from here on.
    tokio::time::sleep(Duration::from_millis(2100)).await;
    let snapshot = place.change().refresh(&snapshot, &place.call()).await.unwrap();
    place.look().inspect(&snapshot, &place.call()).await.unwrap();
    let path = place.standby().join("a");
    let time = path.metadata().unwrap().modified().unwrap();
    fs::write(&path, "old and Settled").unwrap();
    File::open(&path).unwrap().set_modified(time).unwrap();
    refused(place.look().inspect(&snapshot, &place.call()).await, FailureKind::Unproven, "`a`");
}

#[tokio::test]
async fn what_cannot_be_copied_or_exchanged_is_refused_by_name_and_leaves_nothing() {
    let mut place = Place::new();
    place.file("a", "");
    rustix::fs::mknodat(rustix::fs::CWD, place.at("pipe"), rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    refused(place.change().take("7-app", &place.call()).await, FailureKind::Invalid, "`pipe`");
    assert!(!place.dir.path().join(".backout").exists());
    place.again(|section| section.exclude = vec!["pipe".into()]);
    let snapshot = take(&place).await;
    assert_eq!(names(&place.standby()), ["a"]);

    place.again(|section| section.exclude = vec!["../pipe".into()]);
    refused(place.change().take("7-app", &place.call()).await, FailureKind::Invalid, "`../pipe`");
    place.again(|section| section.exclude = vec!["pipe".into(), "b".into()]);
    refused(place.look().inspect(&snapshot, &place.call()).await, FailureKind::Unproven, "excludes other paths");
    for id in ["", "../x", ".x", "a/b"] {
        refused(place.change().take(id, &place.call()).await, FailureKind::Invalid, "name of a copy");
    }
    let inner = drivers::open("app", &place.section, &place.at("state"));
    fs::create_dir(place.at("state")).unwrap();
    refused(inner.mutator.take("8-app", &place.call()).await, FailureKind::Conflict, "own state");
}

#[tokio::test]
async fn a_foreign_folder_in_the_place_of_the_copies_is_refused() {
    let place = Place::new();
    place.file("a", "");
    let elsewhere = tempfile::tempdir().unwrap();
    symlink(elsewhere.path(), place.dir.path().join(".backout")).unwrap();
    refused(place.change().take("7-app", &place.call()).await, FailureKind::Conflict, "`.backout`");
    assert!(names(elsewhere.path()).is_empty());
    if is_root() {
        fs::remove_file(place.dir.path().join(".backout")).unwrap();
        fs::create_dir(place.dir.path().join(".backout")).unwrap();
        std::os::unix::fs::chown(place.dir.path().join(".backout"), Some(1234), None).unwrap();
        refused(place.change().take("7-app", &place.call()).await, FailureKind::Conflict, "another user");
    }
}

#[tokio::test]
async fn what_settles_is_proven_and_what_never_does_is_not() {
    let place = Place::new();
    for n in 0..40 {
        place.file(&format!("f{n}"), vec![1; 200_000]);
    }
    let (began, settled) = (Instant::now(), Arc::new(AtomicBool::new(false)));
    let write = |name: &str| {
        let (file, settled) = (File::create(place.at(name)).unwrap(), settled.clone());
        std::thread::spawn(move || {
            for n in 0u64.. {
                file.write_at(&n.to_le_bytes(), 0).unwrap();
                if settled.load(Ordering::Relaxed) {
                    break;
                }
            }
        })
    };
    let writers = ["a", "f20-busy", "z"].map(write);
    let mut refusals = 0;
    while refusals == 0 && began.elapsed() < Duration::from_secs(20) {
        // Now and then no writer gets a turn between reading and copying; that copy is a good one.
        if let Err(failure) = place.change().take("7-app", &place.call()).await {
            refused(Err::<(), _>(failure), FailureKind::Unproven, "still changing while it is copied: `");
            assert!(!place.dir.path().join(".backout").exists(), "nobody knows of it, so nothing is left");
            refusals += 1;
        }
    }
    settled.store(true, Ordering::Relaxed);
    for writer in writers {
        writer.join().unwrap();
    }
    assert_eq!(refusals, 1);
    let snapshot = take(&place).await;
    assert_eq!(picture(&place.standby()), picture(&place.tree()));
    assert_eq!(snapshot.fingerprint, place.look().fingerprint(&place.call()).await.unwrap());
}

#[tokio::test]
async fn nobody_is_led_out_of_a_tree_while_it_is_copied() {
    let place = Place::new();
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("f"), "secret").unwrap();
    place.file("folder/f", "harmless");
    let (folder, hidden) = (place.at("folder"), place.at("hidden"));
    let stop = Arc::new(AtomicBool::new(false));
    let (stopped, target) = (stop.clone(), outside.path().to_owned());
    let thief = std::thread::spawn(move || {
        while !stopped.load(Ordering::Relaxed) {
            fs::rename(&folder, &hidden).unwrap();
            symlink(&target, &folder).unwrap();
            fs::remove_file(&folder).unwrap();
            fs::rename(&hidden, &folder).unwrap();
        }
    });
    for _ in 0..100 {
        if place.change().take("7-app", &place.call()).await.is_ok() {
            for (path, line) in picture(&place.standby()) {
                assert!(!line.contains("(115, 1), (101, 1), (99, 1)"), "{path} {line}");
            }
        }
    }
    stop.store(true, Ordering::Relaxed);
    thief.join().unwrap();
}

#[tokio::test]
async fn loss_counts_files_by_top_level_entry() {
    let place = Place::excluding(&["logs"]);
    for file in ["v/1/a", "v/1/b", "conf/x", "conf/y", "top"] {
        place.file(file, "one");
    }
    place.file("logs/1", "never looked at");
    let snapshot = take(&place).await;
    assert_eq!(place.look().loss(&snapshot, &place.call()).await.unwrap(), []);
    place.file("v/2/a", "");
    place.file("v/2/deep/b", "");
    fs::create_dir(place.at("v/empty")).unwrap();
    place.file("conf/x", "two");
    mode(&place.at("conf/y"), 0o600);
    fs::remove_file(place.at("top")).unwrap();
    place.file("logs/2", "");
    let lost = |part: &str, rows, changed, missing| Lost { part: part.into(), rows, changed, missing };
    let expected = [lost("conf", 0, 2, 0), lost("top", 0, 0, 1), lost("v", 3, 0, 0)];
    assert_eq!(place.look().loss(&snapshot, &place.call()).await.unwrap(), expected);
}

#[tokio::test]
async fn a_cancelled_look_ends_and_a_call_whose_time_is_over_stops_copying() {
    let place = Place::new();
    for n in 0..200 {
        place.file(&format!("f{n}"), vec![1; 1_000_000]);
    }
    let call = place.call();
    call.cancel.cancel();
    refused(place.look().fingerprint(&call).await, FailureKind::Unavailable, "cancelled");
    let call = place.call();
    let given_up = tokio::time::timeout(Duration::from_millis(20), place.change().take("7-app", &call)).await;
    assert!(given_up.is_err(), "200 MB in 20 ms");
    // The same id starts over, after what was given up has ended.
    let snapshot = take(&place).await;
    place.look().inspect(&snapshot, &place.call()).await.unwrap();
    assert_eq!(names(&place.slot()), ["proof", "standby"]);
    let progress = place.notes.progress.lock().unwrap();
    assert!(progress.iter().any(|(text, done, total)| !text.is_empty() && *done > 0 && *total >= 200_000_000));
    assert!(progress.iter().all(|(_, done, total)| done <= total), "{progress:?}");
}
