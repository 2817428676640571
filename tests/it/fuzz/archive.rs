//! Payloads: whatever an archive holds, it is unpacked whole and stays inside, or nothing of it is there.
use super::{damage::*, in_little_memory, remember, run};
use crate::tree::{
    Place,
    install::{archive, entry, file, link, nothing_left, tar, zstd},
};
use backout::resource::FailureKind;
use proptest::{prelude::*, sample::Index};
use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Component, Path},
};
use tar::{EntryType, Header};

#[test]
fn archives() {
    in_little_memory("archive");
}

/// A little of all that there can be.
fn entries() -> Vec<Vec<u8>> {
    let extended = |kind, content: &[u8]| entry(kind, "x", "", 0, content);
    vec![
        file("bin/shop", "program"),
        entry(EntryType::Regular, "bin/tool", "", 0o6777, &[7; 600]),
        entry(EntryType::Directory, "empty/", "", 0o777, b""),
        link("lib/up", "../bin/shop"),
        link("later", "not/yet"),
        link("lib", "bin"),
        entry(EntryType::Link, "bin/shop2", "bin/shop", 0o644, b""),
        extended(EntryType::GNULongName, format!("deep/{}\0", "n".repeat(180)).as_bytes()),
        file("named-before", "long"),
        extended(EntryType::GNULongLink, b"bin/tool\0"),
        link("linked-before", ""),
        extended(EntryType::XHeader, b"16 path=pax/one\n12 size=999\n"),
        file("one", "pax"),
        extended(EntryType::XGlobalHeader, b"19 comment=nothing\n"),
        file("README", ""),
    ]
}

/// A field of a header.
#[derive(Clone, Debug)]
enum Field {
    Name(&'static str),
    Target(&'static str),
    Kind(u8),
    Size(u64),
    Mode(u32),
    Time(u64),
}

const NAMES: &[&str] = &[
    "",
    ".",
    "..",
    "../x",
    "/",
    "/etc/x",
    "a//b",
    "./a",
    "bin",
    "bin/",
    "bin/shop",
    "bin/shop/x",
    "lib/x",
    "later/x",
    "not/yet",
    "lib/..",
    "x/../../y",
    ".backout",
    ".backout-tmp",
    "\u{1b}[2J",
    "é",
    "README/",
    "lib/up",
    "con\\x",
    "a b",
];

fn field() -> impl Strategy<Value = Field> {
    let size = prop::sample::select(vec![0, 1, 511, 512, 513, 1 << 20, (1 << 33) - 1, 1 << 40, u64::MAX]);
    prop_oneof![
        4 => prop::sample::select(NAMES).prop_map(Field::Name),
        3 => prop::sample::select(NAMES).prop_map(Field::Target),
        2 => prop::sample::select(b"\x000123456789gxKLSVNADM".to_vec()).prop_map(Field::Kind),
        1 => any::<u8>().prop_map(Field::Kind),
        2 => size.prop_map(Field::Size),
        1 => any::<u32>().prop_map(Field::Mode),
        1 => any::<u64>().prop_map(Field::Time),
    ]
}

fn set(entry: &mut [u8], field: &Field) {
    let Some(header) = entry.get_mut(..512) else { return };
    let mut changed = Header::from_byte_slice(header).clone();
    let put = |to: &mut [u8; 100], name: &str| {
        *to = [0; 100];
        to[..name.len()].copy_from_slice(name.as_bytes());
    };
    match field {
        Field::Name(name) => put(&mut changed.as_old_mut().name, name),
        Field::Target(name) => put(&mut changed.as_old_mut().linkname, name),
        Field::Kind(kind) => changed.set_entry_type(EntryType::new(*kind)),
        Field::Size(size) => changed.set_size(*size),
        Field::Mode(mode) => changed.set_mode(*mode),
        Field::Time(time) => changed.set_mtime(*time),
    }
    changed.set_cksum();
    header.copy_from_slice(changed.as_bytes());
}

fn archives_with_damage() -> impl Strategy<Value = Bytes> {
    let fields = || prop::collection::vec((any::<Index>(), field()), 0..5);
    let with_fields = || {
        (prop_oneof![Just(entries()), damaged(entries())], fields()).prop_map(|(mut entries, fields)| {
            let length = entries.len();
            for (at, field) in fields.iter().filter(|_| length > 0) {
                set(&mut entries[at.index(length)], field);
            }
            entries.truncate(500);
            tar(&entries)
        })
    };
    let whole = tar(&entries());
    prop_oneof![
        6 => with_fields().prop_map(Bytes),
        2 => with_fields().prop_map(|bytes| Bytes(zstd(&bytes))),
        1 => damaged_bytes(vec![whole.clone(), zstd(&whole)]),
    ]
}

#[test]
#[ignore = "run by `archives` in a process of its own"]
fn a_damaged_archive_is_unpacked_whole_or_not_at_all() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let place = Place::new();
    fs::create_dir(place.at("v")).unwrap();
    run(250, archives_with_damage(), |Bytes(bytes)| {
        remember("archive", &bytes);
        let payload = archive(&place, &bytes);
        let result = runtime.block_on(place.change().install("v/2", &payload, &place.call()));
        fs::remove_file(&payload.path).unwrap();
        match result {
            Ok(()) => {
                inside(&place.at("v/2"));
                fs::remove_dir_all(place.at("v/2")).unwrap();
            }
            Err(failure) => {
                assert_eq!(failure.kind, FailureKind::Invalid, "{}", failure);
                let told = failure.to_string();
                assert!(told.len() < 1000 && !told.contains(char::is_control), "{:?}", told);
            }
        }
        nothing_left(&place);
    });
}

/// Nothing but files, folders, and links that lead to what is inside.
fn inside(top: &Path) {
    let mut folders = vec![top.to_owned()];
    let mut bytes = 0;
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap().map(Result::unwrap) {
            let (path, about) = (entry.path(), fs::symlink_metadata(entry.path()).unwrap());
            if about.is_symlink() {
                match path.canonicalize() {
                    Ok(target) => assert!(target.starts_with(top.canonicalize().unwrap()), "{}", path.display()),
                    // To where there is nothing: the text must not lead out either.
                    Err(_) => {
                        let depth = path.strip_prefix(top).unwrap().components().count() as i64 - 1;
                        let down = fs::read_link(&path).unwrap().components().try_fold(depth, |depth, part| {
                            let depth = depth + if part == Component::ParentDir { -1 } else { 1 };
                            (depth >= 0 && part != Component::RootDir).then_some(depth)
                        });
                        assert!(down.is_some(), "{} leads out", path.display());
                    }
                }
                continue;
            }
            assert!(about.is_dir() || about.is_file(), "{} is neither file nor folder", path.display());
            assert_eq!(about.permissions().mode() & 0o7022, 0, "{}", path.display());
            bytes += if about.is_file() { about.size() } else { 0 };
            if about.is_dir() {
                folders.push(path);
            }
        }
    }
    assert!(bytes <= 1 << 20, "{bytes} bytes");
}
