use super::*;
use backout::resource::tree::{EntryKind, MAX_ENTRIES, MAX_FILE};
use std::{
    os::unix::fs::symlink,
    sync::atomic::{AtomicBool, Ordering},
};

/// A tree with every way out that somebody could plant.
fn planted() -> (Place, TempDir) {
    let place = Place::new();
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("secret"), "secret").unwrap();
    place.file("conf/shop.toml", "port = 80\n");
    symlink("conf", place.at("inner")).unwrap();
    symlink(outside.path(), place.at("out")).unwrap();
    symlink(outside.path().join("secret"), place.at("out-file")).unwrap();
    symlink("/nowhere", place.at("out-nowhere")).unwrap();
    symlink("..", place.at("up")).unwrap();
    symlink("circle", place.at("circle")).unwrap();
    symlink("conf/../../tree/conf/shop.toml", place.at("around")).unwrap();
    (place, outside)
}

#[tokio::test]
async fn no_path_leads_out() {
    let (place, outside) = planted();
    let long = "a/".repeat(2048) + "a";
    let wide = "a".repeat(256);
    let bad: [(&str, FailureKind); 20] = [
        ("", FailureKind::Invalid),
        ("a\0b", FailureKind::Invalid),
        (&long, FailureKind::Invalid),
        (&wide, FailureKind::Invalid),
        ("a//b", FailureKind::Invalid),
        ("a/", FailureKind::Invalid),
        ("./a", FailureKind::Invalid),
        ("circle", FailureKind::Invalid),
        ("/etc/passwd", FailureKind::Denied),
        ("..", FailureKind::Denied),
        ("../tree/conf/shop.toml", FailureKind::Denied),
        ("conf/../conf/shop.toml", FailureKind::Denied),
        ("out/secret", FailureKind::Denied),
        ("out/nothing", FailureKind::Denied),
        ("out-file", FailureKind::Denied),
        ("out-nowhere", FailureKind::Denied),
        ("up/tree/conf/shop.toml", FailureKind::Denied),
        ("around", FailureKind::Denied),
        (".backout-tmp-1", FailureKind::Denied),
        (".backout/x", FailureKind::Denied),
    ];
    for (path, kind) in bad {
        let failure = place.look().read(path).await.unwrap_err();
        assert_eq!(failure.kind, kind, "read {path:.40} {failure}");
        let told = &failure.message;
        let host = [outside.path(), place.dir.path()].map(|p| p.display().to_string());
        assert!(!host.iter().any(|host| told.contains(host.as_str())) && told.len() < 300, "{told}");
        if path.is_empty() {
            continue;
        }
        for failure in [
            place.look().list(path).await.map(|_| ()).unwrap_err(),
            place.change().write(&format!("{path}/f"), b"x", &place.call()).await.unwrap_err(),
            place.change().link(&format!("{path}/f"), "x", &place.call()).await.unwrap_err(),
        ] {
            // A folder of that name would have to be there first.
            let close = [kind, FailureKind::NotFound];
            assert!(close.contains(&failure.kind), "{path:.40} {failure}");
        }
    }
    // Whether something is there is not told.
    let told = async |path| place.look().read(path).await.unwrap_err().message.replace(path, "");
    assert_eq!(told("out-file").await, told("out-nowhere").await);
    assert_eq!(told("out/secret").await, told("out/nothing").await);
    assert_eq!(names(outside.path()), ["secret"]);
}

#[tokio::test]
async fn files_are_read_through_links_that_stay_inside() {
    let (place, _outside) = planted();
    assert_eq!(place.look().read("conf/shop.toml").await.unwrap(), b"port = 80\n");
    assert_eq!(place.look().read("inner/shop.toml").await.unwrap(), b"port = 80\n");
    refused(place.look().read("conf/none").await, FailureKind::NotFound, "`conf/none`");
    refused(place.look().read("conf/shop.toml/x").await, FailureKind::NotFound, "not there");
    refused(place.look().read("conf").await, FailureKind::Invalid, "no file");
    rustix::fs::mknodat(rustix::fs::CWD, place.at("pipe"), rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    refused(place.look().read("pipe").await, FailureKind::Invalid, "no file");
    place.file("largest", vec![1; MAX_FILE]);
    assert_eq!(place.look().read("largest").await.unwrap().len(), MAX_FILE);
    place.file("too-large", vec![1; MAX_FILE + 1]);
    refused(place.look().read("too-large").await, FailureKind::Invalid, "more than");
    let mut place = place;
    symlink("tree", place.dir.path().join("link-to-tree")).unwrap();
    place.again(|section| section.path = section.path.with_file_name("link-to-tree"));
    assert_eq!(place.look().read("conf/shop.toml").await.unwrap(), b"port = 80\n", "the tree itself may be a link");
    fs::remove_dir_all(place.tree()).unwrap();
    refused(place.look().read("conf/shop.toml").await, FailureKind::Unavailable, "tree");
}

#[tokio::test]
async fn a_link_that_is_exchanged_while_it_is_read_leads_nowhere_else() {
    let (place, outside) = planted();
    let (link, other) = (place.at("moving"), place.at("moving.new"));
    symlink("conf/shop.toml", &link).unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let (stopped, secret) = (stop.clone(), outside.path().join("secret"));
    let thief = std::thread::spawn(move || {
        for n in 0.. {
            if stopped.load(Ordering::Relaxed) {
                break;
            }
            symlink(if n % 2 == 0 { secret.as_path() } else { Path::new("conf/shop.toml") }, &other).unwrap();
            fs::rename(&other, &link).unwrap();
        }
    });
    let (mut read, mut denied, began) = (0, 0, Instant::now());
    while read + denied < 1000 || (read == 0 || denied == 0) && began.elapsed() < Duration::from_secs(20) {
        match place.look().read("moving").await {
            Ok(content) => {
                assert_eq!(content, b"port = 80\n");
                read += 1;
            }
            Err(failure) => {
                assert_ne!(failure.kind, FailureKind::Failed, "{failure}");
                denied += 1;
            }
        }
    }
    stop.store(true, Ordering::Relaxed);
    thief.join().unwrap();
    assert!(read > 0 && denied > 0, "{read} {denied}");
}

#[tokio::test]
async fn a_list_shows_what_is_there_and_follows_nothing() {
    let (place, _outside) = planted();
    place.file("conf/.backout-tmp-1234567890abcdef", "");
    place.file("conf/\u{1b}[2J", "");
    fs::create_dir(place.at("conf/folder")).unwrap();
    symlink("shop.toml", place.at("conf/link")).unwrap();
    let list = place.look().list("conf").await.unwrap();
    let seen: Vec<_> = list.iter().map(|e| (e.name.as_str(), e.kind, e.bytes, e.target.as_str())).collect();
    assert_eq!(
        seen,
        [
            ("\\x1b[2J", EntryKind::File, 0, ""),
            ("folder", EntryKind::Folder, 0, ""),
            ("link", EntryKind::Link, 0, "shop.toml"),
            ("shop.toml", EntryKind::File, 10, ""),
        ]
    );
    assert_eq!(place.look().list("inner").await.unwrap(), list);
    let root = place.look().list(".").await.unwrap();
    assert_eq!(root.len(), 8);
    refused(place.look().list("conf/shop.toml").await, FailureKind::NotFound, "not there");
    fs::create_dir(place.at("many")).unwrap();
    for n in 0..MAX_ENTRIES {
        fs::write(place.at(&format!("many/{n}")), "").unwrap();
    }
    assert_eq!(place.look().list("many").await.unwrap().len(), MAX_ENTRIES);
    place.file("many/one more", "");
    refused(place.look().list("many").await, FailureKind::Invalid, "more than");
}

#[tokio::test]
async fn a_file_is_replaced_in_one_move_and_keeps_what_it_was() {
    let (place, _outside) = planted();
    let conf = place.at("conf/shop.toml");
    mode(&conf, 0o640);
    rustix::fs::setxattr(&conf, "user.note", b"mine", rustix::fs::XattrFlags::empty()).unwrap();
    if is_root() {
        std::os::unix::fs::chown(&conf, Some(1234), Some(5678)).unwrap();
        std::os::unix::fs::chown(place.at("conf"), Some(4321), Some(8765)).unwrap();
    }
    let before = conf.metadata().unwrap();
    let open = fs::File::open(&conf).unwrap();
    place.change().write("inner/shop.toml", b"port = 81\n", &place.call()).await.unwrap();
    let after = conf.metadata().unwrap();
    assert_eq!(place.text("conf/shop.toml"), "port = 81\n");
    assert_ne!(before.ino(), after.ino());
    assert_eq!((before.mode(), before.uid(), before.gid()), (after.mode(), after.uid(), after.gid()));
    rustix::fs::getxattr(&conf, "user.note", &mut [0; 4][..]).unwrap();
    assert_eq!(std::io::read_to_string(open).unwrap(), "port = 80\n", "who has the old one keeps it whole");

    place.change().write("conf/new", b"", &place.call()).await.unwrap();
    let new = place.at("conf/new").metadata().unwrap();
    assert_eq!(new.mode() & 0o7777, 0o644);
    if is_root() {
        assert_eq!((new.uid(), new.gid()), (4321, 8765), "it belongs to whom its folder belongs");
    }
    assert_eq!(names(&place.at("conf")), ["new", "shop.toml"]);
    refused(place.change().write("conf", b"", &place.call()).await, FailureKind::Invalid, "a folder");
    refused(place.change().write("inner", b"", &place.call()).await, FailureKind::Invalid, "a link");
    refused(place.change().write("out-file", b"", &place.call()).await, FailureKind::Invalid, "a link");
    refused(place.change().write("none/x", b"", &place.call()).await, FailureKind::NotFound, "not there");
    refused(
        place.change().write("big", &vec![0; MAX_FILE + 1], &place.call()).await,
        FailureKind::Invalid,
        "more than",
    );
    place.change().write("big", &vec![0; MAX_FILE], &place.call()).await.unwrap();
}

#[tokio::test]
async fn what_a_crash_left_is_cleaned_up_by_the_next_attempt() {
    let (place, _outside) = planted();
    place.change().write("conf/a", b"1", &place.call()).await.unwrap();
    // Every name under which the temporary file could be, found out by making the move fail.
    fs::create_dir(place.at("conf/b")).unwrap();
    fs::create_dir(place.at("conf/c")).unwrap();
    for stale in names(&place.at("conf")) {
        assert!(!stale.starts_with(".backout"), "{stale}");
    }
    let call = place.call();
    let given_up = tokio::time::timeout(Duration::ZERO, place.change().write("conf/a", b"2", &call)).await;
    // Whether it came before or after the end of its time: what a look says stays true.
    let seen = place.look().read("conf/a").await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(place.look().read("conf/a").await.unwrap(), seen, "{given_up:?}");
    place.change().write("conf/a", b"3", &place.call()).await.unwrap();
    assert_eq!(place.text("conf/a"), "3");
    assert_eq!(names(&place.at("conf")), ["a", "b", "c", "shop.toml"]);
}

#[tokio::test]
async fn a_link_points_at_what_is_inside() {
    let (place, outside) = planted();
    place.file("v/1/shop", "1");
    place.file("v/2/shop", "2");
    place.change().link("current", "v/1", &place.call()).await.unwrap();
    assert!(place.look().linked("current", "v/1").await.unwrap());
    place.change().link("current", "v/2", &place.call()).await.unwrap();
    place.change().link("current", "v/2", &place.call()).await.unwrap();
    assert_eq!(place.text("current/shop"), "2");
    place.change().link("conf/app", "../v/1", &place.call()).await.unwrap();
    place.change().link("app", "conf/../v/1", &place.call()).await.unwrap();
    place.change().link("inner/again", "../v/1/shop", &place.call()).await.unwrap();
    assert_eq!(place.text("conf/again"), "1");
    let host = outside.path().join("secret").display().to_string();
    for (target, kind) in [
        ("", FailureKind::Invalid),
        ("a\0b", FailureKind::Invalid),
        ("v/3", FailureKind::NotFound),
        ("../tree/v/1", FailureKind::Denied),
        ("../../etc", FailureKind::Denied),
        ("../nothing", FailureKind::Denied),
        (&host, FailureKind::Denied),
        ("/nowhere", FailureKind::Denied),
        ("inner/..", FailureKind::Denied),
        ("inner/../v/1", FailureKind::Denied),
        ("out/secret", FailureKind::Denied),
        ("out-nowhere", FailureKind::Denied),
        (".backout-tmp-1", FailureKind::Denied),
        ("current", FailureKind::Invalid),
        ("current/shop", FailureKind::Invalid),
        (&"a".repeat(5000), FailureKind::Invalid),
    ] {
        let failure = place.change().link("current", target, &place.call()).await.unwrap_err();
        assert_eq!(failure.kind, kind, "{target:.40} {failure}");
    }
    refused(place.change().link("conf", "v/1", &place.call()).await, FailureKind::Conflict, "no link");
    refused(place.change().link("v/1/shop", "../2", &place.call()).await, FailureKind::Conflict, "no link");
    assert!(place.look().linked("current", "v/2").await.unwrap());
    for (path, target) in [("current", "v/1"), ("conf", "v/2"), ("none", "v/2")] {
        assert!(!place.look().linked(path, target).await.unwrap());
    }
    assert!(names(&place.tree()).iter().all(|name| !name.starts_with(".backout")));
}
