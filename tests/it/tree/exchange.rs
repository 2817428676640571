use super::*;
use backout::resource::copies::{Exchange, Lost, Snapshot};
use rustix::fs::{CWD, RenameFlags};
use std::process::{Child, Command, Stdio};

struct Ended(Child);
impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A tree with version 1, a proven copy of it, and then version 2.
async fn upgraded() -> (Place, Snapshot, BTreeMap<String, String>) {
    let place = Place::excluding(&["uploads", "v/*/cache/**"]);
    place.file("v/1/shop", "version 1");
    fs::create_dir(place.at("v/1/cache")).unwrap();
    place.file("uploads/a", "customer's");
    place.file("conf", "old");
    std::os::unix::fs::symlink("v/1", place.at("current")).unwrap();
    let snapshot = place.change().take("7-app", &place.call()).await.unwrap();
    let before = picture(&place.standby());
    place.file("v/2/shop", "version 2");
    place.file("v/2/cache/stays-aside", "");
    place.file("v/1/cache/kept", "warm");
    place.file("uploads/deep/b", "later");
    place.file("conf", "new");
    fs::remove_file(place.at("current")).unwrap();
    std::os::unix::fs::symlink("v/2", place.at("current")).unwrap();
    (place, snapshot, before)
}

/// What must hold after the exchange, seen without the driver.
fn assert_restored(place: &Place, before: &BTreeMap<String, String>) {
    let carried = |path: &str| path.starts_with("uploads") || path.starts_with("v/1/cache/");
    let now: BTreeMap<_, _> = picture(&place.tree()).into_iter().filter(|(path, _)| !carried(path)).collect();
    assert_eq!(&now, before);
    assert_eq!(place.text("uploads/a"), "customer's");
    assert_eq!(place.text("uploads/deep/b"), "later");
    assert_eq!(place.text("v/1/cache/kept"), "warm");
    let aside = place.slot().join("aside");
    assert_eq!(fs::read_to_string(aside.join("conf")).unwrap(), "new");
    assert_eq!(fs::read_to_string(aside.join("v/2/shop")).unwrap(), "version 2");
    assert!(aside.join("v/2/cache/stays-aside").exists());
    assert_eq!(names(&aside), ["conf", "current", "v"]);
}

fn lost_all() -> Vec<Lost> {
    let lost = |part: &str, rows, changed| Lost { part: part.into(), rows, changed, missing: 0 };
    // `v/2/shop`, and the folder `v/2/cache`, which is empty but for what is excluded.
    vec![lost("conf", 0, 1), lost("current", 0, 1), lost("v", 2, 0)]
}

#[tokio::test]
async fn an_exchange_brings_everything_back_and_loses_nothing() {
    let (place, snapshot, before) = upgraded().await;
    let restored = place.change().exchange(&snapshot, &place.call()).await.unwrap();
    assert_restored(&place, &before);
    let aside = place.slot().join("aside").display().to_string();
    assert_eq!((restored.exchanged, restored.aside.as_deref()), (true, Some(aside.as_str())));
    assert_eq!(restored.lost, lost_all());
    assert_eq!(place.look().loss(&snapshot, &place.call()).await.unwrap(), lost_all(), "afterwards too");
    let evidence = place.evidence();
    assert_eq!(evidence[0]["standby"]["inode"], place.tree().metadata().unwrap().ino());
    assert_eq!(evidence[0]["live"]["inode"], place.slot().join("aside").metadata().unwrap().ino());
    assert_eq!(place.look().exchanged(&snapshot, &evidence).await.unwrap(), Exchange::Done { aside });

    // Done twice is done once, as long as it still is what was restored.
    let again = place.change().exchange(&snapshot, &place.call()).await.unwrap();
    assert_eq!(again, restored);
    refused(place.change().refresh(&snapshot, &place.call()).await, FailureKind::Conflict, "live already");
    refused(place.change().take("7-app", &place.call()).await, FailureKind::Conflict, "live already");
    place.file("conf", "newer");
    refused(place.change().exchange(&snapshot, &place.call()).await, FailureKind::Conflict, "no second one");
    assert_eq!(place.text("conf"), "newer");

    let live = picture(&place.tree());
    assert!(place.change().discard(&snapshot, &place.call()).await.unwrap() > 0);
    assert_eq!(picture(&place.tree()), live, "what is live is not touched");
    assert!(!place.dir.path().join(".backout").exists());
    assert_eq!(place.change().discard(&snapshot, &place.call()).await.unwrap(), 0);
}

#[tokio::test]
async fn a_tree_that_is_gone_or_ruined_comes_back_all_the_same() {
    let (place, snapshot, _) = upgraded().await;
    fs::remove_dir_all(place.tree()).unwrap();
    let restored = place.change().exchange(&snapshot, &place.call()).await.unwrap();
    assert_eq!(place.text("conf"), "old");
    assert!(restored.lost.iter().all(|l| (l.rows, l.changed) == (0, 0)) && restored.lost.len() == 3, "{restored:?}");
    assert_eq!(
        place.look().exchanged(&snapshot, &place.evidence()).await.unwrap(),
        Exchange::Done { aside: restored.aside.unwrap() }
    );

    let (place, snapshot, _) = upgraded().await;
    let mut deep = place.at("v");
    for _ in 0..200 {
        deep.push("d");
        fs::create_dir(&deep).unwrap();
    }
    place.file("v/2/shop", "");
    mode(&place.at("v/2"), 0o000);
    rustix::fs::mknodat(CWD, place.at("pipe"), rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    place.change().exchange(&snapshot, &place.call()).await.unwrap();
    assert_eq!(place.text("conf"), "old");
    place.change().discard(&snapshot, &place.call()).await.unwrap();
    assert!(!place.dir.path().join(".backout").exists(), "however deep");
}

#[tokio::test]
async fn whoever_uses_the_tree_keeps_it() {
    let (place, snapshot, before) = upgraded().await;
    fs::copy("/bin/sleep", place.at("v/2/sleep")).unwrap();
    mode(&place.at("v/2/sleep"), 0o755);
    let inode = place.tree().metadata().unwrap().ino();
    let users: [(&str, &dyn Fn() -> Command); 3] = [
        ("sleep", &|| {
            let mut command = Command::new("sleep");
            command.stdin(fs::File::open(place.at("uploads/a")).unwrap());
            command
        }),
        ("sleep", &|| {
            let mut command = Command::new("sleep");
            command.current_dir(place.at("v/1"));
            command
        }),
        ("sleep", &|| Command::new(place.at("v/2/sleep"))),
    ];
    for (name, command) in users {
        let child = Ended(command().arg("60").stdout(Stdio::null()).spawn().unwrap());
        let held = format!("in use by {name} (process {})", child.0.id());
        refused(place.change().exchange(&snapshot, &place.call()).await, FailureKind::Conflict, &held);
        assert_eq!(place.tree().metadata().unwrap().ino(), inode);
    }
    assert!(place.evidence().is_empty());
    fs::remove_file(place.at("v/2/sleep")).unwrap();
    place.change().exchange(&snapshot, &place.call()).await.unwrap();
    assert_restored(&place, &before);
}

#[tokio::test]
async fn a_tree_that_is_not_exclusive_or_was_moved_is_not_exchanged() {
    let (mut place, snapshot, _) = upgraded().await;
    place.again(|section| section.exclusive = false);
    refused(place.change().exchange(&snapshot, &place.call()).await, FailureKind::Denied, "not exclusive");
    let elsewhere = tempfile::tempdir().unwrap();
    fs::create_dir(elsewhere.path().join("tree")).unwrap();
    place.again(|section| {
        section.exclusive = true;
        section.path = elsewhere.path().join("tree");
    });
    refused(place.change().exchange(&snapshot, &place.call()).await, FailureKind::Conflict, "another place");
    refused(place.change().discard(&snapshot, &place.call()).await, FailureKind::Conflict, "another place");
    assert!(place.standby().exists());
}

fn mount(arguments: &[&str], at: &Path) {
    let done = Command::new("mount").args(arguments).arg(at).status().unwrap();
    assert!(done.success(), "mounting is needed here, and needs root");
}
fn unmount(at: &Path) {
    assert!(Command::new("umount").arg(at).status().unwrap().success());
}

#[tokio::test]
async fn mount_points_are_refused_when_the_copy_is_made_and_when_it_is_needed() {
    let (place, snapshot, _) = upgraded().await;
    let tree = place.tree().display().to_string();
    fs::create_dir(place.at("uploads/disk")).unwrap();
    for (arguments, at) in
        [(&["-t", "tmpfs", "none"][..], place.at("uploads/disk")), (&["--bind", &tree], place.tree())]
    {
        mount(arguments, &at);
        let results = [
            place.change().exchange(&snapshot, &place.call()).await.map(|_| ()),
            place.change().take("8-app", &place.call()).await.map(|_| ()),
        ];
        unmount(&at);
        for result in results {
            refused(result, FailureKind::Conflict, "mount point");
        }
    }
    fs::create_dir(place.standby().join("v/disk")).unwrap();
    mount(&["--bind", "/etc"], &place.standby().join("v/disk"));
    let result = place.change().discard(&snapshot, &place.call()).await;
    unmount(&place.standby().join("v/disk"));
    refused(result, FailureKind::Conflict, "mounted");
    assert!(Path::new("/etc/passwd").exists());
}

/// The exchange as far as the journal, which breaks: what a crash leaves before the point of no return.
async fn begun(place: &Place, snapshot: &Snapshot) {
    *place.notes.broken.lock().unwrap() = true;
    refused(place.change().exchange(snapshot, &place.call()).await, FailureKind::Failed, "power");
    *place.notes.broken.lock().unwrap() = false;
}
fn rename(place: &Place) {
    rustix::fs::renameat_with(CWD, place.tree(), CWD, place.standby(), RenameFlags::EXCHANGE).unwrap();
}

#[tokio::test]
async fn a_crash_leaves_it_done_or_not_done_and_a_look_tells_which() {
    let (place, snapshot, before) = upgraded().await;
    assert_eq!(place.look().exchanged(&snapshot, &[]).await.unwrap(), Exchange::NotDone);
    begun(&place, &snapshot).await;
    assert_eq!(place.evidence().len(), 1);
    assert_eq!(place.look().exchanged(&snapshot, &place.evidence()).await.unwrap(), Exchange::NotDone);
    // Right after the rename: the customers' files are in the wrong folder.
    rename(&place);
    assert!(!place.at("uploads").exists());
    let done = Exchange::Done { aside: place.slot().join("aside").display().to_string() };
    assert_eq!(place.look().exchanged(&snapshot, &place.evidence()).await.unwrap(), done);
    assert_restored(&place, &before);
    assert_eq!(place.look().exchanged(&snapshot, &place.evidence()).await.unwrap(), done, "and again");
    assert_restored(&place, &before);
}

#[tokio::test]
async fn half_an_exchange_is_finished_by_whatever_comes_next() {
    // In the middle of carrying over, and a product was started meanwhile that made its folders anew.
    let (place, snapshot, _) = upgraded().await;
    begun(&place, &snapshot).await;
    rename(&place);
    place.file("uploads/new", "by the product");
    fs::create_dir(place.at("uploads/deep")).unwrap();
    let restored = place.change().exchange(&snapshot, &place.call()).await.unwrap();
    assert_eq!(restored.lost, lost_all());
    assert_eq!(place.text("uploads/new"), "by the product");
    assert_eq!((place.text("uploads/a"), place.text("uploads/deep/b")), ("customer's".into(), "later".into()));
    assert_eq!((place.text("v/1/cache/kept"), place.text("conf")), ("warm".into(), "old".into()));
    assert_eq!(
        place.look().exchanged(&snapshot, &[]).await.unwrap(),
        Exchange::NotDone,
        "a third call has done nothing"
    );

    // The second call was interrupted as well, before it had anything to say.
    let (place, snapshot, before) = upgraded().await;
    begun(&place, &snapshot).await;
    rename(&place);
    let found = place.look().exchanged(&snapshot, &[]).await.unwrap();
    assert!(matches!(found, Exchange::Done { .. }), "{found:?}");
    assert_restored(&place, &before);

    // A file that both have: neither is overwritten.
    let (place, snapshot, _) = upgraded().await;
    begun(&place, &snapshot).await;
    rename(&place);
    place.file("uploads/a", "made anew");
    place.look().exchanged(&snapshot, &place.evidence()).await.unwrap();
    assert_eq!(place.text("uploads/a"), "made anew");
    assert_eq!(fs::read_to_string(place.slot().join("aside/uploads/a")).unwrap(), "customer's");

    // Freeing the copies does not free what was to be carried over.
    let (place, snapshot, _) = upgraded().await;
    begun(&place, &snapshot).await;
    rename(&place);
    place.change().discard(&snapshot, &place.call()).await.unwrap();
    assert_eq!((place.text("uploads/a"), place.text("conf")), ("customer's".into(), "old".into()));

    // A copy is not made over what is kept aside.
    let (place, snapshot, _) = upgraded().await;
    begun(&place, &snapshot).await;
    rename(&place);
    refused(place.change().take("7-app", &place.call()).await, FailureKind::Conflict, "kept aside");
    refused(place.change().refresh(&snapshot, &place.call()).await, FailureKind::Conflict, "kept aside");
    assert!(place.standby().join("uploads/a").exists());
}

#[tokio::test]
async fn what_somebody_else_moved_is_unclear() {
    let (place, snapshot, _) = upgraded().await;
    begun(&place, &snapshot).await;
    fs::rename(place.standby(), place.dir.path().join("moved")).unwrap();
    let found = place.look().exchanged(&snapshot, &place.evidence()).await.unwrap();
    assert!(matches!(&found, Exchange::Unclear(text) if text.contains("inode")), "{found:?}");
    refused(place.change().exchange(&snapshot, &place.call()).await, FailureKind::Unproven, "not there");
    let nonsense = [serde_json::json!({ "standby": 7 })];
    assert!(matches!(place.look().exchanged(&snapshot, &nonsense).await.unwrap(), Exchange::Unclear(_)));
}

#[tokio::test]
async fn freeing_follows_no_link() {
    let place = Place::new();
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("f"), "precious").unwrap();
    std::os::unix::fs::symlink(outside.path(), place.at("out")).unwrap();
    std::os::unix::fs::symlink(place.tree(), place.at("home")).unwrap();
    place.file("a", "live");
    let snapshot = place.change().take("7-app", &place.call()).await.unwrap();
    std::os::unix::fs::symlink(outside.path(), place.slot().join("planted")).unwrap();
    place.change().discard(&snapshot, &place.call()).await.unwrap();
    assert_eq!(fs::read_to_string(outside.path().join("f")).unwrap(), "precious");
    assert_eq!(place.text("a"), "live");
    assert!(!place.dir.path().join(".backout").exists());
}

#[tokio::test]
async fn two_restore_points_do_not_disturb_each_other() {
    let (place, first, before) = upgraded().await;
    let second = place.change().take("8-app", &place.call()).await.unwrap();
    place.file("conf", "newest");
    place.change().exchange(&second, &place.call()).await.unwrap();
    assert_eq!(place.text("conf"), "new");
    place.change().exchange(&first, &place.call()).await.unwrap();
    place.change().discard(&second, &place.call()).await.unwrap();
    assert_restored(&place, &before);
    refused(place.change().exchange(&second, &place.call()).await, FailureKind::Unproven, "no proof");
}

#[tokio::test]
async fn a_tree_in_a_tree_is_exchanged_by_itself() {
    for inner_first in [true, false] {
        let place = Place::excluding(&["conf"]);
        place.file("shop", "1");
        place.file("conf/port", "80");
        let inner = Section { path: place.at("conf"), exclude: Vec::new(), ..place.section.clone() };
        let conf = drivers::open("conf", &inner, &place.dir.path().join("state"));
        let of_inner = conf.mutator.take("7-conf", &place.call()).await.unwrap();
        let of_outer = place.change().take("7-app", &place.call()).await.unwrap();
        assert_eq!(names(&place.standby()), ["shop"]);
        place.file("shop", "2");
        place.file("conf/port", "81");
        if inner_first {
            conf.mutator.exchange(&of_inner, &place.call()).await.unwrap();
            place.change().exchange(&of_outer, &place.call()).await.unwrap();
        } else {
            place.change().exchange(&of_outer, &place.call()).await.unwrap();
            conf.mutator.exchange(&of_inner, &place.call()).await.unwrap();
        }
        assert_eq!(place.text("conf/port"), "80");
        assert_eq!(fs::read_to_string(place.at(".backout/tree.conf/7-conf/aside/port")).unwrap(), "81");
        conf.mutator.discard(&of_inner, &place.call()).await.unwrap();
        place.change().discard(&of_outer, &place.call()).await.unwrap();
        assert_eq!(names(&place.tree()), ["conf", "shop"]);
    }
}
