use super::*;
use backout::resource::tree::Archive;
use sha2::{Digest, Sha256};
use std::{io::Write, os::unix::fs::symlink};
use tar::{Builder, EntryType, Header};

/// An entry as hostile as one likes: the crate's own checks are passed by.
pub fn entry(kind: EntryType, path: &str, target: &str, mode: u32, content: &[u8]) -> Vec<u8> {
    let mut header = Header::new_gnu();
    header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
    header.as_old_mut().linkname[..target.len()].copy_from_slice(target.as_bytes());
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_mtime(1_000_000_000);
    header.set_uid(0);
    header.set_gid(0);
    header.set_size(content.len() as u64);
    header.set_cksum();
    let mut bytes = header.as_bytes().to_vec();
    bytes.extend_from_slice(content);
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    bytes
}
pub fn file(path: &str, content: &str) -> Vec<u8> {
    entry(EntryType::Regular, path, "", 0o644, content.as_bytes())
}
pub fn link(path: &str, target: &str) -> Vec<u8> {
    entry(EntryType::Symlink, path, target, 0o777, b"")
}
pub fn tar(entries: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = entries.concat();
    bytes.extend_from_slice(&[0; 1024]);
    bytes
}
pub fn zstd(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

pub fn archive(place: &Place, bytes: &[u8]) -> Archive {
    let sha256 = format!("{:x}", Sha256::digest(bytes));
    let path = place.dir.path().join(format!("payload-{}", &sha256[..8]));
    fs::write(&path, bytes).unwrap();
    Archive { path, sha256, max_unpacked: 1 << 20, max_entries: 1000 }
}

fn shop() -> Vec<u8> {
    let long = format!("lib/{}", "x".repeat(200));
    let mut builder = Builder::new(Vec::new());
    for (path, mode, content) in [("bin/shop", 0o6777, "program"), ("README", 0o644, "read"), (&long, 0o600, "long")] {
        let mut header = Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(mode);
        header.set_mtime(1_000_000_000);
        builder.append_data(&mut header, path, content.as_bytes()).unwrap();
    }
    let mut bytes = builder.into_inner().unwrap();
    bytes.truncate(bytes.len() - 1024);
    let folder = entry(EntryType::Directory, "empty/", "", 0o777, b"");
    let second = entry(EntryType::Link, "bin/shop2", "bin/shop", 0o644, b"");
    tar(&[bytes, folder, second, link("lib/up", "../bin/shop"), link("later", "not/yet")])
}

async fn install(place: &Place, archive: &Archive) -> Result<(), Failure> {
    place.change().install("v/2", archive, &place.call()).await
}
pub fn nothing_left(place: &Place) {
    assert_eq!(names(&place.tree()), ["v"]);
    assert!(names(&place.at("v")).is_empty());
}

#[tokio::test]
async fn a_payload_is_unpacked_whole_and_tells_itself_apart() {
    for pack in [|bytes: &[u8]| bytes.to_vec(), zstd] {
        let place = Place::new();
        fs::create_dir(place.at("v")).unwrap();
        if is_root() {
            std::os::unix::fs::chown(place.at("v"), Some(1234), Some(5678)).unwrap();
        }
        let payload = archive(&place, &pack(&shop()));
        assert!(!place.look().installed("v/2", &payload).await.unwrap());
        install(&place, &payload).await.unwrap();
        assert!(place.look().installed("v/2", &payload).await.unwrap());
        assert_eq!(names(&place.tree()), ["v"]);
        let seen = |path: &str| place.at("v/2").join(path).symlink_metadata().unwrap();
        assert_eq!(seen("bin/shop").mode() & 0o7777, 0o755, "no setuid, no writing for others");
        assert_eq!(seen(&format!("lib/{}", "x".repeat(200))).mode() & 0o7777, 0o600);
        assert_eq!((seen("empty").mode() & 0o7777, seen("bin/shop").mtime()), (0o755, 1_000_000_000));
        assert_eq!(seen("bin/shop").ino(), seen("bin/shop2").ino());
        assert_eq!(place.text("v/2/lib/up"), "program");
        assert_eq!(fs::read_link(place.at("v/2/later")).unwrap(), Path::new("not/yet"));
        if is_root() {
            for path in ["", "bin", "bin/shop", "lib/up"] {
                assert_eq!((seen(path).uid(), seen(path).gid()), (1234, 5678), "{path}");
            }
        }
        let before = picture(&place.tree());
        install(&place, &payload).await.unwrap();
        assert_eq!(picture(&place.tree()), before, "exactly this is fine");

        for change in [
            |v: &Path| fs::write(v.join("README"), "READ").unwrap(),
            |v: &Path| fs::write(v.join("more"), "").unwrap(),
            |v: &Path| fs::remove_file(v.join("later")).unwrap(),
            |v: &Path| mode(&v.join("empty"), 0o700),
        ] {
            change(&place.at("v/2"));
            assert!(!place.look().installed("v/2", &payload).await.unwrap());
            refused(install(&place, &payload).await, FailureKind::Conflict, "something else");
            fs::remove_dir_all(place.at("v/2")).unwrap();
            install(&place, &payload).await.unwrap();
        }
        let other = archive(&place, &tar(&[file("README", "other")]));
        assert!(!place.look().installed("v/2", &other).await.unwrap());
        refused(place.change().install("none/2", &payload, &place.call()).await, FailureKind::NotFound, "not there");
        refused(place.change().install("../2", &payload, &place.call()).await, FailureKind::Denied, "leads out");
        symlink("/tmp", place.at("out")).unwrap();
        refused(place.change().install("out/2", &payload, &place.call()).await, FailureKind::Denied, "leads out");
        symlink("2", place.at("v/link")).unwrap();
        refused(
            place.change().install("v/link", &payload, &place.call()).await,
            FailureKind::Conflict,
            "something else",
        );
    }
}

#[tokio::test]
async fn hostile_archives_leave_nothing() {
    let place = Place::new();
    fs::create_dir(place.at("v")).unwrap();
    let device = entry(EntryType::Char, "null", "", 0o666, b"");
    let pipe = entry(EntryType::Fifo, "pipe", "", 0o666, b"");
    let hard = |target: &str| entry(EntryType::Link, "x", target, 0o644, b"");
    let attacks: Vec<(&str, Vec<Vec<u8>>)> = vec![
        ("absolute", vec![file("/etc/cron.d/x", "")]),
        ("leads out", vec![file("../../x", "")]),
        ("leads out", vec![file("a/../../x", "")]),
        ("leads out", vec![link("l", "/etc")]),
        ("leads out", vec![link("l", "..")]),
        ("leads out", vec![link("a/l", "../../x")]),
        ("no folder", vec![link("l", "a"), file("l/x", "")]),
        ("no folder", vec![file("f", ""), file("f/x", "")]),
        // Each link stays inside; together they do not.
        ("leads out", vec![link("sub/a", ".."), link("l", "sub/a/..")]),
        ("leads out", vec![link("a", "b"), link("b", "a")]),
        // As long as the other one leads where it does now, or to nothing.
        ("leads out", vec![file("d/e/f", ""), link("a", "d/e"), link("l", "a/..")]),
        ("leads out", vec![link("l", "later/../x")]),
        ("absolute", vec![hard("/etc/passwd")]),
        ("leads out", vec![hard("../../x")]),
        ("no file in it", vec![hard("later"), file("later", "")]),
        ("no file in it", vec![link("l", "later"), hard("l")]),
        ("neither file", vec![device]),
        ("neither file", vec![pipe]),
        ("twice", vec![file("x", "1"), file("x", "2")]),
        ("twice", vec![file("x", "1"), entry(EntryType::Directory, "x/", "", 0o755, b"")]),
        ("twice", vec![link("x", "y"), file("x", "2")]),
        ("cannot be the name", vec![file(".backout/x", "")]),
        ("cannot be the name", vec![file("a/.backout-tmp-1", "")]),
        ("no path", vec![entry(EntryType::GNULongName, "x", "", 0, &b"a\0b\0"[..]), file("x", "")]),
        (
            "too deep",
            vec![
                file(&"a/".repeat(45), ""),
                entry(EntryType::GNULongName, "x", "", 0, "b/".repeat(200).as_bytes()),
                file("x", "1"),
            ],
        ),
        ("header of the payload is too long", vec![entry(EntryType::GNULongName, "x", "", 0, &[b'a'; 70_000])]),
        ("header of the payload is too long", vec![entry(EntryType::XGlobalHeader, "x", "", 0, &[b'a'; 70_000])]),
        ("two sizes", vec![entry(EntryType::XHeader, "x", "", 0, b"12 size=999\n"), file("x", "1")]),
        ("sparse", vec![entry(EntryType::XHeader, "x", "", 0, b"22 GNU.sparse.major=1\n"), file("x", "1")]),
        ("leads out", vec![entry(EntryType::XHeader, "x", "", 0, b"16 path=../../x\n"), file("x", "1")]),
        ("absolute", vec![entry(EntryType::XHeader, "x", "", 0, b"15 path=/etc/x\n"), file("x", "1")]),
        ("more than 1048576 bytes", vec![entry(EntryType::Regular, "x", "", 0o644, &[7; (1 << 20) + 1])]),
        ("more than 1000 entries", (0..1001).map(|n| file(&format!("f{n}"), "")).collect()),
        ("empty one", vec![]),
    ];
    for (word, entries) in attacks {
        let bytes = tar(&entries);
        for payload in [archive(&place, &bytes), archive(&place, &zstd(&bytes))] {
            refused(install(&place, &payload).await, FailureKind::Invalid, word);
            nothing_left(&place);
        }
    }
    for bytes in
        [&b"no archive at all, but long enough to be read as one header"[..], &[0x28, 0xb5, 0x2f, 0xfd, 1, 2, 3]]
    {
        assert_eq!(install(&place, &archive(&place, bytes)).await.unwrap_err().kind, FailureKind::Invalid);
    }
    // What the archive's reader quotes of it reaches no terminal.
    let noise = archive(&place, &b"\x1b[2J\x07".repeat(400));
    let failure = install(&place, &noise).await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::Invalid);
    assert!(!failure.message.contains(char::is_control) && failure.message.len() < 300, "{failure:?}");
    let bytes = tar(&[file("x", "long enough")]);
    let cut = archive(&place, &bytes[..515]);
    refused(install(&place, &cut).await, FailureKind::Invalid, "middle of a file");
    nothing_left(&place);
}

#[tokio::test]
async fn bombs_are_stopped_by_what_they_become() {
    let place = Place::new();
    fs::create_dir(place.at("v")).unwrap();
    // 10 GB of zeros in frames that cost nothing to make.
    let zeros = zstd(&vec![0; 64 << 20]);
    let bomb = |mut header: Header, frames: usize, frame: &[u8]| {
        header.set_cksum();
        let mut bytes = zstd(header.as_bytes());
        (0..frames).for_each(|_| bytes.extend_from_slice(frame));
        bytes
    };
    let header = |kind, size| {
        let mut header = Header::new_gnu();
        header.set_path("x").unwrap();
        header.set_entry_type(kind);
        header.set_mode(0o644);
        header.set_mtime(0);
        header.set_size(size);
        header
    };
    let names = zstd(&entry(EntryType::GNULongName, "x", "", 0, b"name\0").repeat(1000));
    let long = 10 << 30;
    for (word, bytes) in [
        ("more than 1048576 bytes", bomb(header(EntryType::Regular, long), 160, &zeros)),
        ("too long", bomb(header(EntryType::XGlobalHeader, long), 160, &zeros)),
        ("too long", bomb(header(EntryType::GNULongName, long), 160, &zeros)),
        // A million entries.
        ("more than 1000 entries", bomb(header(EntryType::GNULongName, 0), 1000, &names)),
    ] {
        let payload = archive(&place, &bytes);
        let began = Instant::now();
        refused(install(&place, &payload).await, FailureKind::Invalid, word);
        assert!(began.elapsed() < Duration::from_secs(5), "{word} after {:?}", began.elapsed());
        nothing_left(&place);
    }
    // Nothing but padding behind headers that say nothing of it.
    let mut payload = archive(&place, &bomb(header(EntryType::Regular, 0), 0, &zeros));
    payload.max_entries = 0;
    refused(install(&place, &payload).await, FailureKind::Invalid, "more than 0 entries");
}

#[tokio::test]
async fn another_archive_than_the_packages_is_not_installed() {
    let place = Place::new();
    fs::create_dir(place.at("v")).unwrap();
    let payload = archive(&place, &zstd(&shop()));
    let mut bytes = fs::read(&payload.path).unwrap();
    bytes.push(0);
    fs::write(&payload.path, &bytes).unwrap();
    refused(install(&place, &payload).await, FailureKind::Conflict, "has changed");
    nothing_left(&place);
    fs::write(&payload.path, zstd(&tar(&[file("x", "other")]))).unwrap();
    refused(install(&place, &payload).await, FailureKind::Conflict, "has changed");
    fs::remove_file(&payload.path).unwrap();
    let failure = install(&place, &payload).await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::Unavailable);
    assert!(!failure.message.contains("payload-"), "{failure}");
    nothing_left(&place);
}

#[tokio::test]
async fn what_was_interrupted_is_invisible_and_cleaned_up() {
    let place = Place::new();
    place.file("v/1/shop", "1");
    let before = place.look().fingerprint(&place.call()).await.unwrap();
    let noise: Vec<u8> = (0..8_000_000u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    let mut payload = archive(&place, &tar(&[entry(EntryType::Regular, "big", "", 0o644, &noise)]));
    payload.max_unpacked = 1 << 30;
    let call = place.call();
    let given_up = tokio::time::timeout(Duration::from_millis(5), place.change().install("v/2", &payload, &call)).await;
    assert!(given_up.is_err(), "32 MB in 5 ms");
    assert!(!place.at("v/2").exists());
    assert_eq!(place.look().fingerprint(&place.call()).await.unwrap(), before);
    // As a crash leaves it, and somebody with bad intent.
    fs::create_dir_all(place.at(".backout-staging-0123456789abcdef/a")).unwrap();
    symlink(place.at("v"), place.at(".backout-staging-0123456789abcdef/a/out")).unwrap();
    symlink(place.at("v"), place.at(".backout-staging-fedcba9876543210")).unwrap();
    place.change().install("v/2", &payload, &place.call()).await.unwrap();
    assert_eq!(names(&place.tree()), ["v"]);
    assert_eq!(names(&place.at("v")), ["1", "2"]);
    assert_eq!(place.at("v/2/big").metadata().unwrap().len(), noise.len() as u64);
}

#[tokio::test]
async fn holes_stay_holes() {
    let place = Place::new();
    fs::create_dir(place.at("v")).unwrap();
    let mut content = vec![0; 8 << 20];
    content[5 << 20] = 1;
    let mut payload = archive(&place, &zstd(&tar(&[entry(EntryType::Regular, "sparse", "", 0o644, &content)])));
    payload.max_unpacked = 8 << 20;
    install(&place, &payload).await.unwrap();
    assert_eq!(fs::read(place.at("v/2/sparse")).unwrap(), content);
    assert!(place.at("v/2/sparse").metadata().unwrap().blocks() * 512 < 1 << 20);
    assert!(place.look().installed("v/2", &payload).await.unwrap());
}
