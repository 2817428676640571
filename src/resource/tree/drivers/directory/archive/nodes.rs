//! Entries of a tree in the form of the repository, which is Go's and restic's, and back.
use super::super::{
    content::{self, Attributes},
    listing::{Identity, Record, Time, What},
    path::{RelPath, shown},
};
use crate::resource::Failure;
use rustic_core::{
    jiff::Timestamp,
    repofile::{Metadata, Node, NodeType},
};
use std::{
    ffi::OsStr,
    os::unix::ffi::{OsStrExt, OsStringExt},
    path::Path,
};

/// Permissions are the lowest nine bits in both; what else there is has other places: (here, there).
const MODES: [(u32, u32); 3] = [(0o4000, 1 << 23), (0o2000, 1 << 22), (0o1000, 1 << 20)];
const FOLDER: u32 = 1 << 31;
const LINK: u32 = 1 << 27;

pub fn node(name: &OsStr, record: &Record, names: u64, attributes: Attributes) -> Node {
    let (kind, type_bit, size) = match &record.what {
        What::Folder => (NodeType::Dir, FOLDER, 0),
        What::Link { target } => {
            let target = Path::new(OsStr::from_bytes(target.as_bytes()));
            (NodeType::from_link(target), LINK, target.as_os_str().len() as u64)
        }
        What::File { size, .. } => (NodeType::File, 0, *size),
        // None is taken into a copy.
        What::Other { .. } => (NodeType::Fifo, 0, 0),
    };
    let mode = record.mode & 0o777 | type_bit;
    let mode = MODES.iter().filter(|(here, _)| record.mode & here != 0).fold(mode, |mode, (_, there)| mode | there);
    let modified = time(record.modified);
    let second_names = names > 1;
    let meta = Metadata {
        mode: Some(mode),
        mtime: modified,
        atime: modified,
        ctime: time(record.identity.changed),
        uid: Some(record.owner),
        gid: Some(record.group),
        inode: record.identity.inode,
        // Of meaning only together with the inode, to know the names of one file.
        device_id: u64::from(second_names),
        size,
        links: if record.is_folder() { 0 } else { names },
        extended_attributes: Vec::new(),
        ..Metadata::default()
    };
    let mut node = Node::new_node(name, kind, meta);
    for (name, value) in attributes {
        let attribute = serde_json::json!({ "name": name, "value": base64(&value) });
        node.meta.extended_attributes.extend(serde_json::from_value(attribute));
    }
    node
}

fn base64(bytes: &[u8]) -> String {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

fn time(time: Time) -> Option<Timestamp> {
    Timestamp::new(time.0, i32::try_from(time.1).ok()?).ok()
}

/// What a node says of itself; the content of a file is known once it was read.
pub fn record(node: &Node, first: Option<RelPath>) -> Result<Record, Failure> {
    let meta = &node.meta;
    let what = match &node.node_type {
        NodeType::Dir => What::Folder,
        NodeType::File => What::File { size: meta.size, content: None, first },
        NodeType::Symlink { .. } => {
            What::Link { target: RelPath::from_bytes(node.node_type.to_link().as_os_str().as_bytes()) }
        }
        _ => return Err(Failure::unproven("the archive holds what is neither file, folder nor link")),
    };
    let mode = meta.mode.unwrap_or(0);
    let mode = MODES.iter().filter(|(_, there)| mode & there != 0).fold(mode & 0o777, |mode, (here, _)| mode | here);
    let modified = meta.mtime.map_or(Time(0, 0), |at| {
        let nanos = at.as_nanosecond();
        let (seconds, rest) = (nanos.div_euclid(1_000_000_000), nanos.rem_euclid(1_000_000_000));
        Time(i64::try_from(seconds).unwrap_or(0), i64::try_from(rest).unwrap_or(0))
    });
    Ok(Record {
        what,
        mode,
        owner: meta.uid.unwrap_or(0),
        group: meta.gid.unwrap_or(0),
        attributes: content::digest_of(&attributes(node)),
        modified,
        identity: Identity { inode: meta.inode, changed: Time(0, 0), size: meta.size },
        allocated: 0,
    })
}

/// Those that Backout keeps, sorted.
pub fn attributes(node: &Node) -> Attributes {
    let all = node.meta.extended_attributes.iter();
    let kept = all.filter(|attribute| content::kept(&attribute.name));
    let mut kept: Attributes = kept.map(|a| (a.name.clone(), a.value.clone().unwrap_or_default())).collect();
    kept.sort();
    kept
}

/// Its name, if it is one that a file can have and that leads nowhere.
pub fn name(node: &Node) -> Result<Vec<u8>, Failure> {
    let name = node.name().into_owned().into_vec();
    let plain = !matches!(&name[..], b"" | b"." | b"..") && !name.contains(&b'/') && !name.contains(&0);
    if plain {
        return Ok(name);
    }
    Err(Failure::unproven(format!("the archive holds the name `{}`, which no file can have", shown(&name))))
}
