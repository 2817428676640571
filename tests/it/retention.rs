//! `restore-points`, as operators use it: what going back would cost, and which restore points go.
use crate::{
    half_way::forgetful,
    support::{
        bench::{kill, wait_for},
        shop::Shop,
        terminal::Terminal,
    },
};
use backout::journal::{Entry, Header, Journal, Place, Reader, Recorded, Request};
use serde_json::{Value, json};
use std::{fs, os::unix::process::ExitStatusExt, path::PathBuf, sync::Arc};

fn journal(shop: &Shop) -> PathBuf {
    shop.folder.path("state/journal.db")
}

fn listed(shop: &Shop, args: &[&str]) -> Vec<Value> {
    let output = shop.backout(&[&["restore-points", "--json"], args].concat());
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Newest first.
fn numbers(shop: &Shop) -> Vec<u64> {
    listed(shop, &[]).iter().map(|point| point["run"].as_u64().unwrap()).collect()
}

/// A site with so many restore points.
fn prepared(count: usize) -> Shop {
    let (shop, package) = forgetful("true");
    for _ in 0..count {
        shop.expect(0, &["prepare", "--yes", &package]);
    }
    shop
}

fn the_tool_changes_the_database(shop: &Shop) {
    shop.edit_site("[tool.meanwhile]\n", "[tool.meanwhile]\nuses = [\"shop\"]\n");
}

#[test]
fn what_going_back_would_set_aside_is_told_before() {
    let (shop, package) = forgetful("true");
    the_tool_changes_the_database(&shop);
    shop.expect(0, &["prepare", "--yes", &package]);
    let said = shop.expect(0, &["restore-points", "--loss"]);
    assert!(said.contains("run 1: going back would leave database shop alone, no run has changed it"), "{said}");
    shop.expect(0, &["upgrade", "--yes", &package]);
    let database = rusqlite::Connection::open(shop.folder.database()).unwrap();
    let orders = "CREATE TEMP TABLE more AS SELECT * FROM orders LIMIT 3;
        UPDATE more SET id = id + 1000000; INSERT INTO orders SELECT * FROM more";
    database.execute_batch(orders).unwrap();
    drop(database);
    let runs = Reader::open(&journal(&shop)).unwrap().runs().unwrap().len();
    let said = shop.expect(0, &["restore-points", "--loss"]);
    assert!(said.contains("run 2: going back would set aside of database shop: 3 in orders"), "{said}");
    assert!(said.contains("run 2: going back would set aside of tree config: 1 in note.txt"), "{said}");
    let points = listed(&shop, &["--loss"]);
    assert!(listed(&shop, &[]).iter().all(|point| point.get("loss").is_none()), "who does not ask is not told");
    assert_eq!(Reader::open(&journal(&shop)).unwrap().runs().unwrap().len(), runs, "a look is no run");
    // And so it comes.
    shop.expect(0, &["rollback", "--yes"]);
    let report = fs::read_to_string(shop.folder.path("state/runs/3/report.json")).unwrap();
    let report: Value = serde_json::from_str(&report).unwrap();
    for restored in report["restored"].as_array().unwrap() {
        let foretold = points[0]["loss"].as_array().unwrap().iter().find(|l| l["resource"] == restored["resource"]);
        assert_eq!(foretold.unwrap()["lost"], restored["lost"], "{restored}");
    }
    assert_eq!(report["restored"].as_array().unwrap().len(), 2);
}

#[test]
fn nothing_is_read_for_it_that_a_run_is_working_on() {
    let (shop, package) = forgetful("sleep 600");
    let child = shop.spawn(&["upgrade", "--yes", &package]);
    wait_for_step(&shop, "upgrade/meanwhile");
    let said = shop.expect(3, &["restore-points", "--loss"]);
    assert!(said.contains("is held by run 1"), "{said}");
    assert_eq!(numbers(&shop), [1], "the list alone is there at any time");
    end(child, "KILL");
    // A copy that is gone is found, although the journal knows nothing of it.
    let copies = shop.copies();
    let copy = copies.iter().find(|path| path.contains("/tree.config/")).unwrap_or_else(|| panic!("{copies:?}"));
    fs::remove_dir_all(copy).unwrap();
    let copy = copies.iter().find(|path| path.ends_with("/standby.db")).unwrap_or_else(|| panic!("{copies:?}"));
    fs::write(copy, "no database").unwrap();
    let said = shop.expect(0, &["restore-points", "--loss"]);
    for resource in ["tree config", "database shop"] {
        assert!(said.contains(&format!("run 1: the copy of {resource} does not count as proven: ")), "{said}");
    }
    assert_eq!(listed(&shop, &["--loss"])[0]["proven"], false);
}

fn wait_for_step(shop: &Shop, step: &str) {
    let journal = journal(shop);
    wait_for(step, || {
        let entries = Reader::open(&journal).ok()?.entries(1).ok()?;
        let begun = |r: &Recorded| r.place.title() == step && matches!(r.entry, Entry::Intent(_));
        entries.iter().any(begun).then_some(())
    });
}

fn end(mut child: std::process::Child, signal: &str) {
    kill(i32::try_from(child.id()).unwrap(), signal);
    child.wait().unwrap();
}

#[test]
fn one_restore_point_is_deleted_and_the_others_stay() {
    let shop = prepared(3);
    let copies = shop.copies();
    // Nobody to ask, a no, a number that is none.
    let said = shop.expect(3, &["restore-points", "delete", "2"]);
    assert!(said.contains("no terminal") && said.contains("1 restore point is to be deleted"), "{said}");
    let mut terminal = Terminal::backout(&shop.folder.root, "restore-points delete 2");
    let shown = terminal.shows("[y/N]");
    assert!(shown.contains("run 2, ") && shown.contains("Delete them?"), "{shown}");
    terminal.types("n");
    assert_eq!(terminal.ends().1, 3);
    let said = shop.expect(3, &["restore-points", "delete", "2", "77", "--yes"]);
    assert!(said.contains("there is no restore point 77"), "{said}");
    assert_eq!(shop.copies(), copies);
    shop.expect(0, &["restore-points", "delete", "2", "--yes"]);
    assert_eq!(numbers(&shop), [3, 1]);
    assert_eq!(shop.copies().len(), copies.len() / 3 * 2);
    // It is a run like others, and saying it again does no harm.
    let runs = Reader::open(&journal(&shop)).unwrap().runs().unwrap();
    let (header, ending) = (&runs[0].header, runs[0].ending.as_ref().unwrap());
    assert_eq!((header.command.as_str(), header.package.as_str()), ("delete", "test/forgetful"));
    assert_eq!(ending.outcome, "deleted");
    let said = shop.expect(0, &["restore-points", "delete", "2", "--yes"]);
    assert!(said.contains("Restore point 2 was freed before."), "{said}");
    assert_eq!(Reader::open(&journal(&shop)).unwrap().runs().unwrap().len(), runs.len());
    shop.expect(0, &["rollback", "--to", "1", "--yes"]);
    let said = shop.expect(3, &["rollback", "--to", "2", "--yes"]);
    assert!(said.contains("restore point 2"), "{said}");
}

#[test]
fn the_last_way_back_is_not_deleted_by_accident() {
    let shop = prepared(2);
    let copies = shop.copies();
    let said = shop.expect(3, &["restore-points", "delete", "1", "2", "--yes"]);
    assert!(said.contains("restore point 2 is the last proven one of test/forgetful"), "{said}");
    assert!(said.contains("--even-the-last"), "{said}");
    assert_eq!(shop.copies(), copies);
    let said = shop.expect(0, &["restore-points", "prune", "--keep", "0", "--yes"]);
    assert!(said.contains("Restore point 2 stays: it is the last proven one of test/forgetful"), "{said}");
    assert_eq!(numbers(&shop), [2]);
    shop.expect(3, &["restore-points", "delete", "2", "--yes"]);
    shop.expect(0, &["restore-points", "delete", "2", "--yes", "--even-the-last"]);
    assert_eq!(shop.copies(), [""; 0]);
    let said = shop.expect(0, &["restore-points", "prune", "--keep", "0", "--yes"]);
    assert!(said.contains("No restore point is to be deleted"), "{said}");
}

#[test]
fn old_ones_are_cleared_away() {
    let shop = prepared(4);
    for wrong in [&["prune"][..], &["prune", "--keep", "some"], &["prune", "--older-than", "old"], &["delete"]] {
        shop.expect(2, &[&["restore-points"], wrong].concat());
    }
    shop.expect(0, &["restore-points", "prune", "--older-than", "1d", "--yes"]);
    assert_eq!(numbers(&shop), [4, 3, 2, 1]);
    let said = shop.expect(0, &["restore-points", "prune", "--older-than", "1ms", "--keep", "3", "--yes"]);
    assert!(said.contains("1 restore point is to be deleted"), "{said}");
    shop.expect(0, &["restore-points", "prune", "--keep", "2", "--yes"]);
    assert_eq!(numbers(&shop), [4, 3]);
    assert_eq!(shop.copies().len(), 4, "{:?}", shop.copies());
}

#[test]
fn what_a_run_needs_is_not_deleted() {
    let (shop, package) = forgetful("sleep 600");
    the_tool_changes_the_database(&shop);
    shop.expect(0, &["prepare", "--yes", &package]);
    let child = shop.spawn(&["upgrade", "--yes", &package]);
    let journal = journal(&shop);
    wait_for("the tool", || {
        let entries = Reader::open(&journal).ok()?.entries(2).ok()?;
        entries.iter().any(|r| r.place.title() == "upgrade/meanwhile").then_some(())
    });
    for args in [&["delete", "1", "--yes"][..], &["prune", "--keep", "1", "--yes"]] {
        let said = shop.expect(3, &[&["restore-points"], args].concat());
        assert!(said.contains("is held by run 2"), "{said}");
    }
    end(child, "KILL");
    let copies = shop.copies();
    let said = shop.expect(3, &["restore-points", "delete", "2", "--yes", "--even-the-last"]);
    assert!(said.contains("run 2 did not come to its end, and needs restore point 2"), "{said}");
    let prune = ["restore-points", "prune", "--keep", "0", "--yes", "--even-the-last"];
    let said = shop.expect(0, &prune);
    assert!(said.contains("Restore point 2 stays: run 2 did not come to its end"), "{said}");
    assert_eq!(numbers(&shop), [2]);
    assert!(shop.copies().iter().all(|copy| copies.contains(copy)));
    // A rollback that could not put all of it back.
    let holder = fs::File::open(shop.folder.path("srv/config/note.txt")).unwrap();
    shop.expect(5, &["rollback", "--yes"]);
    let said = shop.expect(0, &["restore-points", "--loss"]);
    assert!(said.contains("run 2: database shop is restored already"), "{said}");
    assert!(said.contains("run 2: going back would set aside of tree config: 1 in note.txt"), "{said}");
    let said = shop.expect(3, &["restore-points", "delete", "2", "--yes", "--even-the-last"]);
    assert!(said.contains("run 4 did not come to its end, and needs restore point 2"), "{said}");
    drop(holder);
    shop.expect(0, &["rollback", "--yes"]);
    // What was written since is set aside, and the site says for how long.
    let said = shop.expect(0, &prune);
    assert!(said.contains("is kept for 14 d 00 h (`keep-aside`)"), "{said}");
    assert_eq!(numbers(&shop), [2]);
    shop.expect(0, &["restore-points", "delete", "2", "--yes"]);
    assert_eq!(shop.copies(), [""; 0]);
}

/// What a kill of a run that frees copies leaves in the journal: of one that it has done it, of the other that it was about to.
pub fn cut_off_between(shop: &Shop, header: Header, [done, begun]: [Request; 2]) {
    let place = Place::new(&*header.command, false, "", 1);
    let (killed, run) = Journal::begin(&journal(shop), header, Arc::new(|_| ())).unwrap();
    let write = async {
        killed.append(run, &place, 1, Entry::Intent(done)).await.unwrap();
        killed.append(run, &place, 1, Entry::Outcome { result: Ok(1.into()), millis: 1 }).await.unwrap();
        killed.append(run, &place, 2, Entry::Intent(begun)).await.unwrap();
    };
    tokio::runtime::Runtime::new().unwrap().block_on(write);
}

#[test]
fn a_deletion_that_was_cut_off_is_finished_by_saying_it_again() {
    let shop = prepared(2);
    let mut copies = Vec::new();
    for recorded in Reader::open(&journal(&shop)).unwrap().entries(1).unwrap() {
        match recorded.entry {
            Entry::Intent(request) => copies.push((request, Value::Null)),
            Entry::Outcome { result: Ok(snapshot), .. } => copies.last_mut().unwrap().1 = snapshot,
            _ => {}
        }
    }
    let [first, second] = copies.as_slice() else { panic!("{copies:#?}") };
    let header = Header { command: "delete".into(), package: "test/forgetful".into(), ..Header::default() };
    let discard = |(take, snapshot): &(Request, Value)| {
        let asked = json!({ "resource": take.label, "snapshot": snapshot });
        Request { operation: "backup.discard".into(), changes: Vec::new(), request: asked, ..take.clone() }
    };
    cut_off_between(&shop, header, [discard(first), discard(second)]);
    assert!(shop.expect(0, &["restore-points"]).contains("freed in part"));
    shop.expect(3, &["rollback", "--to", "1", "--yes"]);
    let left = shop.copies().len();
    shop.expect(0, &["restore-points", "delete", "1", "--yes"]);
    assert_eq!(numbers(&shop), [2]);
    assert_eq!(shop.copies().len(), left - 1, "the journal says of one that it was gone before");
    let said = shop.expect(0, &["restore-points", "delete", "1", "--yes"]);
    assert!(said.contains("was freed before"), "{said}");
}

#[test]
fn a_copy_does_not_count_as_proven_while_it_is_brought_up_to_date() {
    let shop = prepared(2);
    let entries = Reader::open(&journal(&shop)).unwrap().entries(2).unwrap();
    let take = entries.into_iter().find_map(|r| match r.entry {
        Entry::Intent(request) if request.resource == "tree:config" => Some(request),
        _ => None,
    });
    // What an upgrade leaves that is killed there.
    let header =
        Header { command: "upgrade".into(), package: "test/forgetful".into(), restore_point: 2, ..Header::default() };
    let (killed, run) = Journal::begin(&journal(&shop), header, Arc::new(|_| ())).unwrap();
    let refresh = Entry::Intent(Request { operation: "backup.refresh".into(), ..take.unwrap() });
    let place = Place::new("upgrade", false, "shut", 1);
    let write = async {
        killed.append(run, &place, 0, Entry::StepStarted).await.unwrap();
        killed.append(run, &place, 1, refresh).await.unwrap();
    };
    tokio::runtime::Runtime::new().unwrap().block_on(write);
    drop(killed);
    let said = shop.expect(0, &["restore-points"]);
    let why = "run 2: the copy of tree config does not count as proven: copying it was begun, and has not ended";
    assert!(said.contains(why), "{said}");
    let points = listed(&shop, &[]);
    assert_eq!((&points[0]["proven"], &points[1]["proven"]), (&json!(false), &json!(true)));
    // So the older one is the last.
    let said = shop.expect(3, &["restore-points", "delete", "1", "--yes"]);
    assert!(said.contains("restore point 1 is the last proven one"), "{said}");
}

#[test]
fn a_deletion_that_is_killed_anywhere_is_finished_by_saying_it_again() {
    let shop = prepared(2);
    let package = shop.folder.path("packages/forgetful");
    let (mut points, mut halves) = (0, 0);
    for point in 1.. {
        let [newest, oldest] = numbers(&shop)[..] else { panic!("{:?}", numbers(&shop)) };
        let delete = ["restore-points", "delete", &oldest.to_string(), "--yes"];
        let killed = shop.command(&delete).env("BACKOUT_CRASH_AT", point.to_string()).output().unwrap();
        if killed.status.code() == Some(0) {
            break;
        }
        assert_eq!(killed.status.signal(), Some(9), "{killed:?}");
        points = point;
        let state = |run: u64| {
            let points = listed(&shop, &["--all"]);
            points.iter().find(|point| point["run"] == run).unwrap()["state"].as_str().unwrap().to_owned()
        };
        assert_eq!(state(newest), "ready", "at point {point}");
        halves += u32::from(state(oldest) == "committed" && numbers(&shop).contains(&oldest));
        shop.expect(0, &delete);
        assert_eq!(numbers(&shop), [newest], "after point {point}");
        assert_eq!(shop.copies().len(), 2, "after point {point}: {:?}", shop.copies());
        assert_eq!(open(&shop), [0; 0], "after point {point}: said again, it has come to its end");
        // And the other still leads back.
        shop.expect(0, &["rollback", "--to", &newest.to_string(), "--yes"]);
        shop.expect(0, &["restore-points", "delete", &newest.to_string(), "--yes"]);
        for _ in 0..2 {
            shop.expect(0, &["prepare", "--yes", package.to_str().unwrap()]);
        }
    }
    println!("crash points: {points}, {halves} of them with one copy left");
    assert!(points > 5 && halves > 0, "{points} points, {halves} half-way");
}

/// Runs of which the list says that they were interrupted.
pub fn open(shop: &Shop) -> Vec<u64> {
    let runs: Vec<Value> = serde_json::from_str(&shop.expect_out(&["runs", "--json", "-n", "0"])).unwrap();
    let open = runs.iter().filter(|run| run["outcome"] == "interrupted");
    open.map(|run| run["run"].as_u64().unwrap()).collect()
}

#[test]
fn an_unfencing_that_was_cut_off_is_finished_by_saying_it_again() {
    let shop = prepared(1);
    let killed = shop.command(&["unfence"]).env("BACKOUT_CRASH_AT", "3").output().unwrap();
    assert_eq!(killed.status.signal(), Some(9), "{killed:?}");
    assert_eq!(open(&shop), [2]);
    shop.expect(0, &["unfence"]);
    assert_eq!(open(&shop), [0; 0]);
    shop.expect(0, &["audit"]);
}

/// Digests of the packages that are kept beside the journal.
fn kept(shop: &Shop) -> Vec<String> {
    let kept = fs::read_dir(shop.folder.path("state/packages")).unwrap();
    kept.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn a_package_goes_when_no_run_needs_it_any_more() {
    let shop = prepared(1);
    let package = shop.folder.path("packages/forgetful");
    let older = kept(&shop);
    assert_eq!(older.len(), 1);
    crate::support::shop::edit(&package.join("package.toml"), "test/forgetful\"", "test/forgetful\"\n# of another day");
    shop.expect(0, &["prepare", "--yes", package.to_str().unwrap()]);
    shop.expect(0, &["prepare", "--yes", package.to_str().unwrap()]);
    assert_eq!(kept(&shop).len(), 2);
    // Somebody was killed in the midst of keeping one.
    fs::create_dir(shop.folder.path("state/packages/.tmpHalf")).unwrap();
    shop.expect(0, &["restore-points", "delete", "2", "--yes"]);
    assert_eq!(kept(&shop).len(), 2, "another restore point of each is there: {:?}", kept(&shop));
    let mut delete = shop.command(&["restore-points", "delete", "1", "--yes"]);
    let killed = delete.env("BACKOUT_CRASH_AT", "before a package is removed").output().unwrap();
    assert_eq!(killed.status.signal(), Some(9), "{killed:?}");
    assert_eq!(kept(&shop).iter().filter(|name| !name.starts_with('.')).count(), 2);
    // One that nobody has ended needs its package.
    let mut prepare = shop.command(&["upgrade", "--yes", package.to_str().unwrap()]);
    let killed = prepare.env("BACKOUT_CRASH_AT", "before tool.run on meanwhile").output().unwrap();
    assert_eq!(killed.status.signal(), Some(9), "{killed:?}");
    shop.expect(0, &["restore-points", "delete", "3", "--yes"]);
    let newer = kept(&shop);
    assert_eq!((newer.len(), newer.contains(&older[0])), (1, false), "the first one is gone: {newer:?}");
    let said = shop.expect(0, &["show"]);
    assert!(
        said.contains(&format!("no run needs the package of test/forgetful 2.0.0 any more (sha256:{})", older[0])),
        "{said}"
    );
    assert!(said.contains("deleted"), "{said}");
    // Of the runs that used it nothing can be told any more without it.
    let said = shop.expect(0, &["replay"]);
    assert!(
        said.contains("run 1 (prepare of test/forgetful 2.0.0) is not told: its package is not kept any more"),
        "{said}"
    );
    assert!(said.contains("1 could not be told"), "{said}");
    let said = shop.expect(3, &["replay", "1"]);
    assert!(said.contains("the package of run 1 is not kept any more"), "{said}");
    shop.expect(0, &["replay", "1", "--package", package.to_str().unwrap()]);
    shop.expect(0, &["resume", "--yes"]);
    shop.expect(0, &["commit", "--yes"]);
    assert_eq!(kept(&shop), [""; 0]);
    let said = shop.expect(3, &["replay"]);
    assert!(said.contains("no recorded run could be told"), "{said}");
}

/// An upgrade of another package leaves the way back of this one alone, and the other way round.
#[test]
fn each_package_has_a_last_one_of_its_own() {
    let shop = prepared(1);
    let other = shop.folder.path("packages/other");
    crate::support::guests::forgetful().copy_to(&other);
    crate::support::shop::edit(&other.join("package.toml"), "test/forgetful", "test/other");
    let site = fs::read_to_string(shop.site()).unwrap();
    let (_, grants) = site.split_once("[allow.\"test/forgetful\"]").unwrap();
    fs::write(shop.site(), format!("{site}\n[allow.\"test/other\"]{grants}")).unwrap();
    shop.expect(0, &["prepare", "--yes", other.to_str().unwrap()]);
    let said = shop.expect(3, &["restore-points", "delete", "1", "--yes"]);
    assert!(said.contains("the last proven one of test/forgetful"), "{said}");
    shop.expect(0, &["restore-points", "prune", "--keep", "1", "--yes"]);
    assert_eq!(numbers(&shop), [2, 1]);
}
