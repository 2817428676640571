//! Site files, and what they name.
use super::{
    Section,
    files::{self, COMMAND, SITE, files, folder, link, mode, pipe, sparse},
    host::OWN_MEMORY,
};
use crate::support::{guests, packages::Folder};

const KEPT: (&str, &str) = ("sites", "backout.toml");

const MEMORY: u64 = OWN_MEMORY;

fn host() -> Folder {
    files::host(&guests::plain())
}

files! {
    honest_with_foreign_line_ends: "nothing", 0, "✓ restore point 1: 0 copies proven, 0 bytes.",
        "Means no harm: begins with a byte order mark, and ends its lines as Windows does." => |host| {
            host.write("backout.toml", format!("\u{feff}{}", SITE.replace('\n', "\r\n")));
        };
    unknown_key: "keys are read strictly", 3, "backout.toml:3:1: unknown key `sate` in `site`";
    value_of_another_type: "types are read strictly", 3, "backout.toml:3:8: `tree.app.path` must be a string, not an integer";
    name_twice: "keys are read strictly", 3, "backout.toml:5:7: not TOML: duplicate key";
    two_names_for_one_place: "a thing has one name", 3, "backout.toml:2:7: tree `app` is the same place as tree `again`";
    name_that_is_a_path: "names are read strictly", 3, "backout.toml:2:7: `../data` cannot be a name";
    section_not_closed: "TOML", 3, "backout.toml:2:10: not TOML: unclosed table, expected `]`";
    control_sequence_in_a_path: "texts are read strictly", 3, "backout.toml:3:8: `tree.app.path` holds the character \\u{1b}";
    secret_that_is_missing: "check of secrets", 3, "backout.toml:4:24: the secret secrets/gone: there is no such file";
    password_in_an_address: "check of addresses", 3, "backout.toml:3:7: `probe.shop.url` has a user or password in it";
    state_in_a_tree: "check of places", 3, "backout.toml:5:7: Backout's state srv/app/state lies in tree `app`";
    right_that_there_is_not: "rights are read strictly", 3, "backout.toml:6:21: a tree has no right `everything`";
    grant_of_nothing: "check of grants", 3, "backout.toml:6:6: there is no tree `web`";
    twin_of_what_is_live: "check of twins", 3, "backout.toml:7:12: the twin tool `wipe` names srv/app, which is of the live tree `app`";
    twin_with_rights: "check of twins", 3, "backout.toml:10:6: tool `twin` is a twin, there for rehearsals alone";
    site_with_a_nul: "TOML", 3, "backout.toml:…: not TOML: invalid unquoted key, …",
        "Ends with a zero byte." => |host| drop(host.write("backout.toml", format!("{SITE}\0")));
    site_that_is_not_utf8: "UTF-8", 3, "backout.toml:1:1: this is not UTF-8",
        "Is written in UTF-16." => |host| {
            let utf16: Vec<u8> = SITE.encode_utf16().flat_map(u16::to_le_bytes).collect();
            host.write("backout.toml", [&[0xff, 0xfe][..], &utf16].concat());
        };
    site_nested_10000_deep: "TOML's own depth", 3, "backout.toml:1:…: tables or lists are nested too deep",
        "Nests lists ten thousand deep, and closes none." => |host| drop(host.write("backout.toml", format!("a = {}", "[".repeat(10_000))));
    site_with_20000_trees: "1,000 entries in a table", 3, "backout.toml:1:2: `tree` has more than 1000 entries",
        "Has twenty thousand trees, each of which could lie in each other." => |host| {
            let trees: String = (0..20_000).map(|n| format!("[tree.t{n}]\npath = \"srv/{n}\"\n")).collect();
            host.write("backout.toml", trees);
        };
    site_with_80000_keys: "1,000 entries in a table", 3, "backout.toml:1:1: there are more than 1000 entries at the top of the file",
        "Has eighty thousand keys that there are not." => |host| {
            host.write("backout.toml", (0..80_000).map(|n| format!("k{n} = 1\n")).collect::<String>());
        };
    site_with_100_mistakes_on_a_line: "one slip for a line", 3, "backout.toml:1:1: not TOML: …",
        "Is no TOML in a hundred ways at once." => |host| drop(host.write("backout.toml", "} ] ".repeat(100)));
    site_of_100_mb: "1 MB of a file that people write", 3, "the site file backout.toml: it is larger than 1.0 MB",
        "Is a hundred megabytes long." => |host| sparse(host, "backout.toml", 100 << 20);
    site_that_is_a_folder: "regular files alone are read", 3, "the site file backout.toml: it is not a regular file",
        "Is a folder." => |host| folder(host, "backout.toml");
    site_that_is_a_pipe: "regular files alone are read", 3, "the site file backout.toml: it is not a regular file",
        "Is a pipe into which nobody writes." => |host| pipe(host, "backout.toml");
    site_that_is_a_device: "regular files alone are read", 3, "the site file backout.toml: it is not a regular file",
        "Is a device without end." => |host| link(host, "backout.toml", "/dev/zero");
    site_that_is_a_link_to_nowhere: "a site must be there", 3, "there is no site file backout.toml",
        "Is a link to nowhere." => |host| link(host, "backout.toml", "nowhere");
    site_that_everybody_may_write: "permissions of the site file", 3, "everybody may write the site file backout.toml (mode 666)",
        "Says what runs on the host, and lets everybody change it." => |host| mode(host, "backout.toml", 0o666);
    secret_that_others_may_read: "permissions of secrets", 3,
        "backout.toml:6:24: others than its owner may open the secret secrets/key (mode 644)",
        "Keeps a secret where others can read it." => |host| mode(host, "secrets/key", 0o644);
    secret_that_is_a_pipe: "regular files alone are read", 3, "backout.toml:6:24: the secret secrets/key: it is not a regular file",
        "Is a secret that never arrives." => |host| pipe(host, "secrets/key");
    secret_of_100_mb: "64 KiB of a secret", 3, "backout.toml:6:24: the secret secrets/key: it is larger than 66 KB",
        "Is a secret of a hundred megabytes." => |host| sparse(host, "secrets/key", 100 << 20);
    tree_that_is_a_link: "check of the host", 3, "backout.toml:1:7: tree `app`: srv/app is a link",
        "Is a link in the place of a tree." => |host| {
            std::fs::remove_dir_all(host.at("srv/app")).unwrap();
            link(host, "srv/app", "data");
        };
}

pub fn section() -> Section {
    let about = "Site files, and files that they name. Backout itself, which is all that runs, keeps within the bounds of the section \
                 above.";
    Section { title: "Site files", about: about.to_owned(), attacks: attacks() }
}

#[test]
fn every_file_is_in_the_table() {
    files::all_in_the_table(KEPT, &attacks());
}
