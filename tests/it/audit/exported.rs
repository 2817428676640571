//! Runs that leave their host as one file: it is verified anywhere, tells nothing of other runs, and whatever somebody made of it is
//! read or refused.
use super::{sql, told};
use crate::{
    package,
    past::Site,
    story::{self, header},
    support::packages::Folder,
};
use backout::{
    journal::{Ending, Entry, Header, Journal, Level, Place, Reader, export},
    package::Package,
};
use std::{
    fs,
    io::{Read, Write},
    path::Path,
    process::Command,
    sync::Arc,
};

/// A rollback with the restore point of the run before the last, a run of somebody else's in between, and a package that was kept.
async fn host() -> Site {
    let site = told().await;
    let folder = package::shop();
    let package = Package::open(folder.path()).unwrap();
    let point = site.tell_now(&story::upgraded()).await;
    let between = Header { package: "nobody/else".into(), ..header("upgrade") };
    write(&site, between, "nobody else is to know").await;
    let rollback = Header { digest: package.digest.clone(), restore_point: point, ..header("rollback") };
    write(&site, rollback, "back again").await;
    let kept = site.state().join("packages").join(package.digest.trim_start_matches("sha256:"));
    for file in ["package.toml", "shop.wasm", "dist/shop-2.0.tar.zst"] {
        let to = kept.join(file);
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::copy(folder.at(file), to).unwrap();
    }
    site
}

async fn write(site: &Site, header: Header, text: &str) {
    let (journal, run) = Journal::begin(&site.journal(), header, Arc::new(|_| ())).unwrap();
    let nowhere = Place::new("", false, "", 0);
    let said = Entry::Said { level: Level::Info, text: text.into() };
    journal.append(run, &nowhere, 0, said).await.unwrap();
    let ending = Ending { outcome: "rolled-back".into(), exit: 0, message: String::new(), ..Ending::default() };
    journal.append(run, &nowhere, 0, Entry::RunEnded(ending)).await.unwrap();
}

const POINT: u64 = 4;
const RUN: u64 = 6;

/// On a machine that has nothing but the file.
fn audit(file: &Path, args: &[&str]) -> (i32, String) {
    let elsewhere = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_backout"));
    command.current_dir(elsewhere.path()).env("TMPDIR", elsewhere.path()).env_remove("BACKOUT_SITE");
    let output = command.arg("audit").arg(file).args(args).output().unwrap();
    assert_eq!(fs::read_dir(elsewhere.path()).unwrap().count(), 0, "everything that was unpacked is gone");
    let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    (output.status.code().unwrap(), said)
}

fn unpacked(file: &Path) -> Vec<u8> {
    zstd::decode_all(fs::File::open(file).unwrap()).unwrap()
}

#[tokio::test]
async fn an_exported_run_is_verified_without_its_site() {
    let site = host().await;
    let file = site.journal().with_file_name("run.backout");
    let name = file.to_str().unwrap();
    let said = site.says(0, &["export", "6", name]);
    assert!(
        said.starts_with("✓ run 6 is in ") && said.contains("3 digests of other runs' entries, its package\n"),
        "{said}"
    );
    let (code, said) = audit(&file, &[]);
    assert_eq!(code, 0, "{said}");
    assert!(
        said.starts_with("✓ the export of run 6 is as it was written: ") && said.contains(" of 2 runs, one chain"),
        "{said}"
    );
    let line = said.lines().last().unwrap().to_owned();
    assert_eq!(audit(&file, &["--head", &line]).0, 0);
    assert_eq!(site.says(0, &["audit", "--head", &line]).lines().next().map(|line| line.starts_with('✓')), Some(true));

    let opened = export::open(&file).unwrap();
    let (there, here) = (opened.reader().unwrap(), Reader::open(&site.journal()).unwrap());
    for run in [POINT, RUN] {
        assert_eq!(there.entries(run).unwrap(), here.entries(run).unwrap(), "with their numbers");
    }
    assert_eq!((opened.run, opened.restore_point), (RUN, POINT));
    assert_eq!(there.runs().unwrap().len(), 2);
    let package = Package::open(&opened.files()).unwrap();
    assert_eq!(package.digest, here.run(RUN).unwrap().header.digest);
    let folder = opened.files();
    drop(opened);
    assert!(!folder.exists());

    let text = String::from_utf8_lossy(&unpacked(&file)).into_owned();
    assert!(text.contains("back again") && !text.contains("nobody"), "of other runs nothing is told");
    let said = site.says(1, &["export", "6", name]);
    assert!(said.contains("File exists"), "nothing is written over: {said}");
    let said = site.says(3, &["export", "7", "other"]);
    assert!(said.starts_with("error: there is no run 7\n"), "{said}");
    sql(&site.journal(), "UPDATE entry SET at = at + 1 WHERE id = 3");
    let said = site.says(3, &["export", "6", "other"]);
    assert!(said.starts_with("error: the journal is not as it was written: entry 3 "), "{said}");
    assert!(!site.journal().with_file_name("other").exists());
}

/// One part of an archive: name, type, content.
type Part = (String, tar::EntryType, Vec<u8>);

fn parts(file: &Path) -> Vec<Part> {
    let bytes = unpacked(file);
    let mut archive = tar::Archive::new(bytes.as_slice());
    let part = |entry: Result<tar::Entry<&[u8]>, std::io::Error>| {
        let mut entry = entry.unwrap();
        let mut content = Vec::new();
        entry.read_to_end(&mut content).unwrap();
        (entry.path().unwrap().display().to_string(), entry.header().entry_type(), content)
    };
    archive.entries().unwrap().map(part).collect()
}

fn pack(parts: &[Part], to: &Path) {
    let mut archive = tar::Builder::new(zstd::Encoder::new(fs::File::create(to).unwrap(), 1).unwrap());
    for (name, kind, content) in parts {
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(*kind);
        header.set_mode(0o600);
        header.set_size(content.len() as u64);
        header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
        if *kind == tar::EntryType::Symlink {
            header.set_link_name("/etc/passwd").unwrap();
        }
        header.set_cksum();
        archive.append(&header, content.as_slice()).unwrap();
    }
    archive.into_inner().unwrap().finish().unwrap();
}

fn edited(parts: &[Part], name: &str, from: &str, to: &str) -> Vec<Part> {
    let mut parts = parts.to_vec();
    let part = parts.iter_mut().find(|part| part.0 == name).unwrap();
    let text = String::from_utf8(part.2.clone()).unwrap();
    assert!(text.contains(from), "{from} is not in {name}");
    part.2 = text.replacen(from, to, 1).into_bytes();
    parts
}

#[tokio::test]
async fn what_was_done_to_an_exported_run_is_found() {
    let site = host().await;
    let file = site.journal().with_file_name("run.backout");
    site.says(0, &["export", "6", file.to_str().unwrap()]);
    let parts = parts(&file);
    pack(&parts, &file);
    assert_eq!(audit(&file, &[]).0, 0, "packed again as it was");

    let lines = String::from_utf8(parts[1].2.clone()).unwrap();
    let line = |n: usize| format!("{}\n", lines.lines().nth(n).unwrap());
    let count = lines.lines().count();
    let digest = lines.lines().find(|line| line.contains("\"digest\"")).unwrap();
    let other = digest.replace("\"digest\":\"", "\"digest\":\"0");
    let other = format!("{}\"}}", &other[..other.len() - 3]);
    let cases = [
        ("entries.jsonl", "back again", "back never", "its hash does not fit"),
        ("entries.jsonl", &line(2), "", "it is gone"),
        ("entries.jsonl", &line(0), "", "it is gone"),
        ("entries.jsonl", &line(count - 1), "", "was signed, and "),
        ("entries.jsonl", digest, &other, ""),
        ("files/0", "payload", "payl0ad", "its package "),
        ("export.json", "\"before\": \"", "\"before\": \"0", "`before` is no hash"),
        ("export.json", "backout-head 1 ", "backout-head 1 1", "does not bear the signature of its key"),
        ("export.json", "\"format\": 1", "\"format\": 2", "is of format 2, this Backout reads 1"),
        ("export.json", "\"run\": 6", "\"run\": 5", " is of another run"),
        ("export.json", "\"run\": 6", "\"walk\": 6", "is no exported run: unknown field `walk`"),
    ];
    for (name, from, to, expected) in cases {
        pack(&edited(&parts, name, from, to), &file);
        let (code, said) = audit(&file, &[]);
        assert!(matches!(code, 1 | 10) && said.contains(expected), "{name}, {from:.60}: {code} {said}");
        assert!(code == 1 || said.contains("✗ the export of run 6 is not as it was written"), "{said}");
        if name == "entries.jsonl" {
            assert!(export::open(&file).is_err(), "{from:.60}");
        }
    }
}

#[tokio::test]
async fn an_archive_that_is_no_exported_run_is_refused_and_leaves_nothing() {
    let site = host().await;
    let file = site.journal().with_file_name("run.backout");
    site.says(0, &["export", "6", file.to_str().unwrap()]);
    let whole = fs::read(&file).unwrap();
    let parts = parts(&file);
    let refused = |parts: &[Part], expected: &str| {
        pack(parts, &file);
        let (code, said) = audit(&file, &[]);
        assert!(code == 1 && said.starts_with("error: ") && said.contains(expected), "{expected}: {code} {said}");
        assert_eq!(said.lines().count(), 1, "{said}");
    };
    let with = |n: usize, change: &dyn Fn(&mut Part)| {
        let mut parts = parts.clone();
        change(&mut parts[n]);
        parts
    };
    for name in ["../escaped", "/escaped", "a/../../escaped", "", "."] {
        refused(&edited(&parts, "export.json", "\"shop.wasm\"", &format!("{name:?}")), "cannot be one");
    }
    let twice = edited(&parts, "export.json", "\"shop.wasm\"", "\"package.toml\"");
    refused(&twice, "cannot be one");
    let below = edited(&parts, "export.json", "\"shop.wasm\"", "\"package.toml/x\"");
    refused(&below, "");
    refused(&with(3, &|part| part.1 = tar::EntryType::Symlink), "`files/1` is not where it belongs");
    refused(&with(3, &|part| part.1 = tar::EntryType::Link), "`files/1` is not where it belongs");
    refused(&with(3, &|part| part.1 = tar::EntryType::GNULongName), "`files/1` is not where it belongs");
    refused(&with(0, &|part| part.0 = "../export.json".into()), "`export.json` is not where it belongs");
    refused(&with(0, &|part| part.2 = vec![b' '; 2 << 20]), "too long");
    refused(&parts[..3], "it ends before `files/1`");
    refused(&[], "it ends before `export.json`");
    refused(&[parts.clone(), vec![parts[2].clone()]].concat(), "holds more than it says");
    refused(&with(1, &|part| part.2.extend(b"[1]\n")), "a line of its entries cannot be read");

    for (what, bytes) in [
        ("a text", b"remember the milk".to_vec()),
        ("nothing", Vec::new()),
        ("cut short", whole[..whole.len() / 2].to_vec()),
        ("cut at its end", whole[..whole.len() - 5].to_vec()),
    ] {
        fs::write(&file, bytes).unwrap();
        let (code, said) = audit(&file, &[]);
        assert!(code == 1 && said.starts_with("error: "), "{what}: {code} {said}");
    }
    let (code, said) = audit(Path::new("nowhere"), &[]);
    assert_eq!((code, said.as_str()), (1, "error: nowhere: is not there\n"));
}

/// A few bytes that become gigabytes.
#[tokio::test]
async fn a_bomb_is_not_unpacked() {
    let folder = Folder::new();
    let file = folder.at("run.backout");
    let mut archive = zstd::Encoder::new(fs::File::create(&file).unwrap(), 1).unwrap();
    let mut header = tar::Header::new_ustar();
    header.set_path("export.json").unwrap();
    header.set_size(40 << 30);
    header.set_cksum();
    archive.write_all(header.as_bytes()).unwrap();
    let zeros = vec![b' '; 1 << 20];
    (0..200).for_each(|_| archive.write_all(&zeros).unwrap());
    archive.finish().unwrap();
    let (code, said) = audit(&file, &[]);
    assert!(code == 1 && said.contains("too long"), "{code} {said}");
}
