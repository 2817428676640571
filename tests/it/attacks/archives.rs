//! Payloads, installed by a script that means no harm.
use super::{
    Section,
    files::{self, MANIFEST, files},
    host::{OWN_MEMORY, PATIENCE},
};
use crate::{
    support::{command::backout, guests, packages::Folder},
    tree::install::{entry, file, link, tar, zstd},
};
use tar::{EntryType, Header};

const COMMAND: &[&str] = &["upgrade", "package", "--yes"];
const KEPT: (&str, &str) = ("", "");
const MEMORY: u64 = OWN_MEMORY;

pub fn host() -> Folder {
    let host = files::host(&guests::attack("honest"));
    let need = "tree.app = { may = [\"write\", \"backup\", \"restore\"], why = \"something has to be granted\" }";
    host.write("package/package.toml", format!("{MANIFEST}[payload]\ngift = \"gift.tar\"\n[needs]\n{need}\n"));
    payload(&host, &[file("new", "an honest file")]);
    host
}

fn payload(host: &Folder, entries: &[Vec<u8>]) {
    host.write("package/gift.tar", tar(entries));
}

/// A header that says anything, and what follows it as often as one likes, in frames that cost nothing.
fn bomb(host: &Folder, kind: EntryType, size: u64, frames: usize, frame: &[u8]) {
    let mut header = Header::new_gnu();
    header.set_path("x").unwrap();
    header.set_entry_type(kind);
    header.set_mode(0o644);
    header.set_mtime(0);
    header.set_size(size);
    header.set_cksum();
    host.write("package/gift.tar", [zstd(header.as_bytes()), zstd(frame).repeat(frames)].concat());
}

/// Said before the payload: of the entry that follows.
fn said(kind: EntryType, what: &[u8]) -> Vec<u8> {
    entry(kind, "x", "", 0, what)
}

fn zeros() -> Vec<u8> {
    vec![0; 64 << 20]
}

files! {
    absolute_path: "paths stay in the payload", 4,
        "↩ evil/script runs the version before again, as before. Not upgraded: upgrade/attack: `/etc/cron.d/x` in the payload is an absolute path (invalid).",
        "Unpacks to an absolute path." => |host| payload(host, &[file("/etc/cron.d/x", "")]);
    path_that_leads_out: "paths stay in the payload", 4,
        "↩ evil/script runs the version before again, as before. Not upgraded: upgrade/attack: `a/../../../x` in the payload leads out of it (invalid).",
        "Unpacks to a path with `..` in it." => |host| payload(host, &[file("a/../../../x", "")]);
    extended_path_that_leads_out: "paths stay in the payload", 4,
        "↩ evil/script runs the version before again, as before. Not upgraded: upgrade/attack: `../../x` in the payload leads out of it (invalid).",
        "Says its real path in an extended header." => |host| payload(host, &[said(EntryType::XHeader, b"16 path=../../x\n"), file("x", "1")]);
    link_that_leads_out: "links stay in the payload", 4,
        "↩ evil/script runs the version before again, as before. Not upgraded: upgrade/attack: the link `l` in the payload leads out of it (invalid).",
        "Brings a link to a folder of the host." => |host| payload(host, &[link("l", "/etc")]);
    links_that_lead_out_together: "links are followed before the payload is there", 4,
        "↩ evil/script runs the version before again, as before. Not upgraded: upgrade/attack: the link `l` in the payload leads out of it (invalid).",
        "Brings two links, of which each stays inside." => |host| payload(host, &[link("sub/a", ".."), link("l", "sub/a/..")]);
    file_through_a_link: "nothing lies in a link", 4,
        "↩ evil/script runs the version before again, as before. Not upgraded: upgrade/attack: `l/x` in the payload lies in something that is no folder (invalid).",
        "Brings a link, then a file through it." => |host| payload(host, &[link("l", "a"), file("l/x", "")]);
    hard_link_that_leads_out: "links stay in the payload", 4,
        "↩ evil/script runs the version before again, as before. Not upgraded: upgrade/attack: `/etc/shadow` in the payload is an absolute path (invalid).",
        "Gives a file of the host a second name." => |host| payload(host, &[entry(EntryType::Link, "x", "/etc/shadow", 0o644, b"")]);
    hard_link_to_a_link: "links stay in the payload", 4,
        "↩ evil/script runs the version before again, as before. Not upgraded: upgrade/attack: `x` in the payload is another name of no file in it (invalid).",
        "Gives a link a second name." => |host| payload(host, &[link("l", "later"), entry(EntryType::Link, "x", "l", 0o644, b"")]);
    device: "files, folders and links alone are unpacked", 4,
        "↩ evil/script runs the version before again, as before. Not upgraded: upgrade/attack: `disk` in the payload is neither file, folder nor link (invalid).",
        "Brings a device." => |host| payload(host, &[entry(EntryType::Block, "disk", "", 0o666, b"")]);
    file_twice: "a name stands once", 4,
        "↩ evil/script runs the version before again, as before. Not upgraded: upgrade/attack: the payload has `x` twice (invalid).",
        "Brings a file twice, with another content." => |host| payload(host, &[file("x", "1"), file("x", "2")]);
    file_that_becomes_a_folder: "a name stands once", 4,
        "↩ evil/script runs the version before again, as before. Not upgraded: upgrade/attack: the payload has `x` twice (invalid).",
        "Brings a file, then a folder of its name." => |host| payload(host, &[file("x", "1"), entry(EntryType::Directory, "x/", "", 0o755, b"")]);
    name_of_backouts_own: "names of Backout's own", 4,
        "↩ evil/script runs the version before again, as before. Not upgraded: upgrade/attack: `.backout/x` in the payload cannot be the name of a file (invalid).",
        "Brings a file with a name that Backout keeps for itself." => |host| payload(host, &[file(".backout/x", "")]);
    two_sizes: "one size for an entry", 4,
        "↩ evil/script runs the version before again, as before. Not upgraded: upgrade/attack: two sizes are given for one entry of the payload (invalid).",
        "Says two sizes for one file." => |host| payload(host, &[said(EntryType::XHeader, b"12 size=999\n"), file("x", "1")]);
    sparse_file: "no sparse entries", 4,
        "↩ evil/script runs the version before again, as before. Not upgraded: upgrade/attack: the payload holds sparse files: make it without `--sparse` (invalid).",
        "Brings a file that is all holes." => |host| payload(host, &[said(EntryType::XHeader, b"22 GNU.sparse.major=1\n"), file("x", "1")]);
    name_of_10_gb: "64 KiB of a header", 4,
        "↩ evil/script runs the version before again, as before. Not upgraded: upgrade/attack: a header of the payload is too long (invalid).",
        "Says a name of ten gigabytes." => |host| bomb(host, EntryType::GNULongName, 10 << 30, 160, &zeros());
    global_header_of_10_gb: "64 KiB of a header", 4,
        "↩ evil/script runs the version before again, as before. Not upgraded: upgrade/attack: a header of the payload is too long (invalid).",
        "Says ten gigabytes about itself." => |host| bomb(host, EntryType::XGlobalHeader, 10 << 30, 160, &zeros());
    bomb_of_10_gb: "200 times its size", 4,
        "↩ evil/script runs the version before again, as before. Not upgraded: upgrade/attack: the payload unpacks to more than 67108864 bytes (invalid).",
        "Becomes a file of ten gigabytes, from one megabyte." => |host| bomb(host, EntryType::Regular, 10 << 30, 160, &zeros());
    targets_of_4_gb: "64 MiB of names", 4,
        "↩ evil/script runs the version before again, as before. Not upgraded: upgrade/attack: the names in the payload have more than 64 MiB together (invalid).",
        "Has a million links whose targets fill four gigabytes." => |host| {
            let target = said(EntryType::GNULongLink, "x/".repeat(2000).as_bytes());
            let entries: Vec<Vec<u8>> = (0..20_000).flat_map(|n| [target.clone(), link(&format!("l{n}"), "")]).collect();
            host.write("package/gift.tar", zstd(&tar(&entries)));
        };
    payload_cut_short: "files are unpacked whole", 4,
        "↩ evil/script runs the version before again, as before. Not upgraded: upgrade/attack: the payload ends in the middle of a file (invalid).",
        "Ends in the middle of a file." => |host| drop(host.write("package/gift.tar", &tar(&[file("x", "long enough")])[..515]));
    payload_that_is_none: "tar, plain or zstd", 4,
        "↩ evil/script runs the version before again, as before. Not upgraded: upgrade/attack: the payload cannot be unpacked: …",
        "Is no archive, but control sequences." => |host| drop(host.write("package/gift.tar", b"\x1b[2J\x07".repeat(400)));
}

pub fn section() -> Section {
    let about = "Archives that an honest script installs; in the same bounds.";
    Section { title: "Payloads", about: about.to_owned(), attacks: attacks() }
}

/// Otherwise the rows above would prove nothing.
#[test]
fn an_honest_payload_is_installed() {
    let host = host();
    let ended = backout(host.path(), COMMAND, PATIENCE);
    assert_eq!(ended.code, Some(0), "{ended:#?}");
    assert_eq!(host.read("srv/app/new/new"), "an honest file");
}
