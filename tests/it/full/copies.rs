//! The disks of the product are full while copies are made, brought up to date, exchanged.
use super::*;
use crate::support::{
    bench::{PATIENCE, kill},
    call::call,
};
use backout::resource::database::{Driver, Section, drivers};
use std::{os::unix::fs::MetadataExt, thread, time::Duration};

on_small_disks! {
    what_does_not_fit_is_refused_before_anything_is_copied
    a_disk_fills_up_while_a_copy_is_made
    a_payload_does_not_fit
    a_fence_needs_room_to_be_raised_and_none_to_be_lifted
    a_database_has_outgrown_its_disk_when_its_copy_is_brought_up_to_date
    an_upgrade_that_has_filled_the_disk_is_taken_back_on_it
    a_disk_that_can_only_be_read_stops_a_rollback_before_anything_is_exchanged
}

fn what_does_not_fit_is_refused_before_anything_is_copied() {
    let mut host = Host::new(Version::V2Good);
    host.load(3);
    let (data, app) = (host.shop.folder.path("srv/data"), host.shop.folder.path("srv/app"));
    for (disk, place, step) in [(&host.data, &data, "copy-data"), (&host.files, &app, "copy-files")] {
        disk.fill(1_000_000);
        let said = host.shop.expect(3, &["prepare", "--yes", &host.package()]);
        disk.free();
        for words in [
            &format!("refused, nothing was changed: prepare/{step}: a copy needs "),
            " kB are free (failed); make room on the file system of ",
            &format!("{};", place.display()),
        ] {
            assert!(said.contains(words), "no `{words}` in\n{said}");
        }
        host.untouched();
    }
    host.shop.expect(0, &["prepare", "--yes", &host.package()]);
}

fn a_disk_fills_up_while_a_copy_is_made() {
    let mut host = Host::new(Version::V2Good);
    host.load(24);
    let standby = [("database", "standby.db", &host.data), ("tree", "ballast-7", &host.files)];
    for (what, name, disk) in standby {
        // The moment cannot be given; so it is tried until it was met.
        let said = (0..30).find_map(|_| {
            let child = host.shop.spawn(&["prepare", "--yes", &host.package()]);
            let pid = i32::try_from(child.id()).unwrap();
            let copying =
                || find(&host.home_of(what), name).is_some_and(|path| path.metadata().is_ok_and(|f| f.blocks() > 0));
            while !copying() && crate::support::bench::alive(pid) {
                thread::sleep(Duration::from_micros(200));
            }
            kill(pid, "STOP");
            disk.fill(0);
            kill(pid, "CONT");
            let (code, said) = ended(child);
            disk.free();
            let in_the_middle = said.contains("there is no room left");
            if code == Some(0) {
                host.shop.expect(0, &["commit", "--yes"]);
            } else {
                assert_eq!(code, Some(3), "{said}");
                assert!(said.contains("make room on the file system of "), "{said}");
            }
            host.untouched();
            in_the_middle.then_some(said)
        });
        let said = said.unwrap_or_else(|| panic!("{what}: never met in the middle of a copy"));
        assert!(said.contains("refused, nothing was changed: prepare/copy-"), "{said}");
    }
    host.shop.expect(0, &["prepare", "--yes", &host.package()]);
}

/// The payload of the package with a file in it that does not compress.
fn heavy_payload(package: &Path, bytes: usize) {
    let path = package.join("dist/shop-2.0.tar.zst");
    let plain = zstd::decode_all(&fs::read(&path).unwrap()[..]).unwrap();
    let mut heavy = tar::Builder::new(Vec::new());
    for entry in tar::Archive::new(&plain[..]).entries().unwrap() {
        let mut entry = entry.unwrap();
        let header = entry.header().clone();
        heavy.append(&header, &mut entry).unwrap();
    }
    let mut header = tar::Header::new_gnu();
    header.set_mode(0o644);
    header.set_size(bytes as u64);
    let mut random = vec![0; bytes];
    let seed = <rand_chacha::ChaCha20Rng as rand_chacha::rand_core::SeedableRng>::seed_from_u64(1);
    rand_chacha::rand_core::Rng::fill_bytes(&mut { seed }, &mut random);
    heavy.append_data(&mut header, "ballast", &random[..]).unwrap();
    fs::write(path, zstd::encode_all(&heavy.into_inner().unwrap()[..], 1).unwrap()).unwrap();
}

fn a_payload_does_not_fit() {
    let host = Host::new(Version::V2Good);
    heavy_payload(&host.shop.package(), 12_000_000);
    host.files.fill(8_000_000);
    let said = host.shop.expect(4, &["upgrade", "--yes", &host.package()]);
    assert!(said.contains("upgrade/install: there is no room for the payload"), "{said}");
    let app = host.shop.folder.path("srv/app");
    assert!(said.contains(&format!("make room on the file system of {};", app.display())), "{said}");
    host.shop.is_as(&host.before);
    host.files.free();
    host.shop.expect(0, &["upgrade", "--yes", &host.package()]);
    host.shop.expect(0, &["rollback", "--yes"]);
    host.shop.is_as(&host.before);
}

fn a_fence_needs_room_to_be_raised_and_none_to_be_lifted() {
    let folder = tempfile::tempdir().unwrap();
    let (data, runtime) = (folder.path().join("data"), tokio::runtime::Runtime::new().unwrap());
    let disk = Disk::under(&data, "size=4m");
    let path = data.join("shop.db");
    let sql = "PRAGMA journal_mode = wal; CREATE TABLE orders (note); INSERT INTO orders VALUES ('kept')";
    rusqlite::Connection::open(&path).unwrap().execute_batch(sql).unwrap();
    let section = Section {
        driver: Driver::Sqlite { path: path.clone() },
        keep_aside: Duration::ZERO,
        exclusive: true,
        method: Default::default(),
    };
    let access = drivers::open("shop", &section);
    let fence = || runtime.block_on(access.mutator.fence(Duration::ZERO, &call("test/fence", PATIENCE)));
    let names =
        || fs::read_dir(&data).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect::<Vec<_>>();

    disk.fill(0);
    let failure = fence().unwrap_err();
    assert!(failure.message.contains("there is no room left"), "{failure}");
    assert!(failure.hint.as_ref().unwrap().contains(data.to_str().unwrap()), "{failure}");
    assert!(path.is_file());
    disk.free();
    assert_eq!(names(), ["shop.db"], "half a fence is left");
    fence().unwrap();
    assert!(path.is_dir());
    // Written behind the fence, and not taken in: there is no room for it.
    let behind = data.join(".backout/shop/live/shop.db");
    let script = "import os, sqlite3, sys\nc = sqlite3.connect(sys.argv[1], isolation_level=None)\n\
                  c.execute('PRAGMA wal_autocheckpoint = 0')\n\
                  c.execute('INSERT INTO orders VALUES (randomblob(1000000))')\nos.kill(os.getpid(), 9)";
    std::process::Command::new("python3").args(["-I", "-S", "-c", script]).arg(behind).status().unwrap();
    disk.fill(0);
    runtime.block_on(access.mutator.unfence(&call("test/unfence", PATIENCE))).unwrap();
    assert!(path.is_file());
    disk.free();
    let database = rusqlite::Connection::open(&path).unwrap();
    let count: i64 = database.query_row("SELECT count(*) FROM orders", [], |row| row.get(0)).unwrap();
    assert_eq!(count, 2, "what was written behind the fence came back with it");
}

fn a_database_has_outgrown_its_disk_when_its_copy_is_brought_up_to_date() {
    let host = Host::new(Version::V2Good);
    host.on_stop("grow(20_000_000).close()\nfill('srv/data', 1_000_000)");
    let said = host.shop.expect(4, &["upgrade", "--yes", &host.package()]);
    assert!(said.contains("upgrade/close: bringing the copy up to date needs 24 MB, "), "{said}");
    let data = host.shop.folder.path("srv/data");
    assert!(said.contains(&format!("make room on the file system of {};", data.display())), "{said}");
    // What was written before the shop was closed stays.
    let now = host.shop.proof();
    let changed = now.differences(&host.before);
    assert!(changed.len() == 1 && changed[0].starts_with("rows of ballast: was 0 rows"), "{changed:?}");
    assert_eq!(host.shop.version().as_deref(), Some("1.0.0"));
    assert!(host.shop.folder.database().is_file(), "a fence is left");
    host.data.free();
    host.shop.expect(0, &["upgrade", "--yes", &host.package()]);
    host.shop.expect(0, &["rollback", "--yes"]);
    host.shop.is_as(&now);
}

fn an_upgrade_that_has_filled_the_disk_is_taken_back_on_it() {
    let host = Host::new(Version::V2Good);
    host.shop.expect(0, &["upgrade", "--yes", &host.package()]);
    // Written, and not yet taken into the database: there is no room for it. 1.0 needs a little to start.
    host.on_stop("fill('srv')\ngrown = grow(3_000_000)\nfill('srv/data', 400_000)\nos.kill(os.getpid(), 9)");
    let said = host.shop.expect(0, &["rollback", "--yes"]);
    assert!(said.contains("1 in ballast"), "{said}");
    host.shop.is_as(&host.before);
    let aside = host.shop.copies().into_iter().find(|path| path.ends_with("aside.db")).unwrap();
    assert!(host.shop.copies().iter().any(|path| path.ends_with("aside.db-wal")), "{:?}", host.shop.copies());
    host.data.free();
    host.files.free();
    let kept = rusqlite::Connection::open(aside).unwrap();
    let kept: i64 = kept.query_row("SELECT length(content) FROM ballast", [], |row| row.get(0)).unwrap();
    assert_eq!(kept, 3_000_000, "what was written last is kept aside");
    host.shop.expect(0, &["commit", "--yes"]);
    host.untouched();
}

fn a_disk_that_can_only_be_read_stops_a_rollback_before_anything_is_exchanged() {
    let host = Host::new(Version::V2Good);
    host.shop.expect(0, &["upgrade", "--yes", &host.package()]);
    // As the kernel does it after an error of the disk.
    host.on_stop("mount('ro', 'srv/data')");
    let said = host.shop.expect(5, &["rollback", "--yes"]);
    assert!(said.contains("rollback/restore failed: ") && said.contains("backout rollback"), "{said}");
    println!("{said}");
    host.data.read_only(false);
    assert_ne!(host.shop.proof().differences(&host.before), [""; 0]);
    host.shop.expect(0, &["rollback", "--yes"]);
    host.shop.is_as(&host.before);
}
