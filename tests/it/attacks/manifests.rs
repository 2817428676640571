//! Manifests, and the files that they name.
use super::{
    Section,
    files::{self, COMMAND, MANIFEST, files, folder, link, pipe, sparse},
    host::OWN_MEMORY,
};
use crate::support::{
    guests,
    packages::{Folder, whole},
};
use std::fs;

const KEPT: (&str, &str) = ("manifests", "package/package.toml");

const MEMORY: u64 = OWN_MEMORY;

fn host() -> Folder {
    files::host(&guests::plain())
}

fn manifest(host: &Folder, more: impl AsRef<str>) {
    host.write("package/package.toml", format!("{MANIFEST}{}", more.as_ref()));
}

const PAYLOAD: &str = "[payload]\ngift = \"gift.tar\"\n";

files! {
    unknown_key: "keys are read strictly", 3, "package/package.toml:7:1: unknown key `run` in `package`";
    value_of_another_type: "types are read strictly", 3, "package/package.toml:9:20: `needs.tree.app.may` must be a list, not a string";
    setting_twice: "keys are read strictly", 3, "package/package.toml:10:1: not TOML: duplicate key";
    name_that_is_a_path: "names are read strictly", 3, "package/package.toml:3:8: `../../etc` cannot be the name of a package";
    right_that_there_is_not: "rights are read strictly", 3, "package/package.toml:9:21: a tree has no right `run`";
    need_without_import: "needs and imports must agree", 3,
        "package/package.toml:9:9: service shop needs control, but the script does not import `service`";
    need_without_a_reason: "a need says why", 3, "package/package.toml:9:6: `needs.tree.app` has no `why`";
    reason_with_a_control_sequence: "texts are read strictly", 3, "package/package.toml:9:37: `needs.tree.app.why` holds the character \\u{1b}";
    reason_from_right_to_left: "texts are read strictly", 3, "package/package.toml:9:37: `needs.tree.app.why` holds the character \\u{202e}";
    payload_that_is_missing: "check of the package", 3, "package/package.toml:9:8: the payload `gone.tar`: there is no such file";
    payload_outside: "paths stay in the package", 3, "package/package.toml:9:8: `payload.gift` leaves the package: /etc/shadow";
    script_outside: "paths stay in the package", 3, "package/package.toml:6:10: `package.script` leaves the package: ../srv/secret";
    default_beyond_its_bounds: "settings keep their bounds", 3, "package/package.toml:9:40: `settings.watch.default` must be at most 1h";
    one_label_for_two: "check of the package", 3,
        "package/package.toml:8:6: `app` is the label of a database and of a tree, and is backed up",
        "Has one label for a database and a tree, and copies it." => |host| {
            host.write("package/script.wasm", whole());
            let need = "app = { may = [\"backup\"], why = \"no reason\" }\n";
            manifest(host, format!("[needs]\ndatabase.{need}tree.{need}"));
        };
    schema_without_a_need: "needs and schemas must agree", 3, "package/package.toml:6:9: the package needs no database `orders`",
        "Has Backout itself query a database that it does not ask for." => |host| {
            manifest(host, "[schema.orders]\nrevision = \"SELECT note FROM orders\"\nfrom = \"1\"\nto = \"2\"\n");
        };
    newer_backout: "check of the version", 3, "package/package.toml:7:11: the package needs Backout 99.0.0 or later, this is 0.1.0";
    manifest_with_90000_settings: "1,000 entries in a table", 3, "package/package.toml:6:2: `settings` has more than 1000 entries",
        "Declares ninety thousand settings." => |host| {
            manifest(host, format!("[settings]\n{}", (0..90_000).map(|n| format!("s{n}=1\n")).collect::<String>()));
        };
    manifest_with_90000_queries: "1,000 entries in a list", 3, "package/package.toml:7:60: `needs.metrics.x.queries` has more than 1000 entries",
        "Needs ninety thousand metrics, which must differ from each other." => |host| {
            host.write("package/script.wasm", whole());
            let queries: Vec<String> = (0..90_000).map(|n| format!("\"q{n}\"")).collect();
            manifest(host, format!("[needs]\nmetrics.x = {{ may = [\"read\"], why = \"no reason\", queries = [{}] }}\n", queries.join(",")));
        };
    manifest_of_100_mb: "1 MB of a file that people write", 3, "the package's manifest package/package.toml: it is larger than 1.0 MB",
        "Is a hundred megabytes long." => |host| sparse(host, "package/package.toml", 100 << 20);
    manifest_that_is_a_pipe: "regular files alone are read", 3, "the package's manifest package/package.toml: it is not a regular file",
        "Is a pipe into which nobody writes." => |host| pipe(host, "package/package.toml");
    manifest_that_is_a_device: "regular files alone are read", 3, "the package's manifest package/package.toml: it is not a regular file",
        "Is a device without end." => |host| link(host, "package/package.toml", "/dev/zero");
    manifest_that_is_a_link_out: "links stay in the package", 3, "the package's manifest package/package.toml: a link leads out of the package",
        "Is a link to a file of the host." => |host| {
            fs::rename(host.at("package/package.toml"), host.at("elsewhere.toml")).unwrap();
            link(host, "package/package.toml", "../elsewhere.toml");
        };
    payload_that_is_a_link_out: "links stay in the package", 3, "package/package.toml:7:8: the payload `gift.tar`: a link leads out of the package",
        "Has a link to a secret of the host as its payload." => |host| {
            manifest(host, PAYLOAD);
            link(host, "package/gift.tar", "../secrets/key");
        };
    payload_that_is_a_pipe: "regular files alone are read", 3, "package/package.toml:7:8: the payload `gift.tar`: it is not a regular file",
        "Has a pipe as its payload." => |host| {
            manifest(host, PAYLOAD);
            pipe(host, "package/gift.tar");
        };
    payload_of_1_tb: "17 GB of payloads", 3, "package/package.toml:7:8: the payload `gift.tar`: with it the payloads are larger than 17 GB",
        "Has a payload of a terabyte, which costs the attacker nothing." => |host| {
            manifest(host, PAYLOAD);
            sparse(host, "package/gift.tar", 1 << 40);
        };
    script_that_is_a_link_out: "links stay in the package", 3, "package/package.toml:5:10: the script `script.wasm`: a link leads out of the package",
        "Has a link to a file of the host as its script." => |host| link(host, "package/script.wasm", "/bin/true");
    script_that_is_a_folder: "regular files alone are read", 3, "package/package.toml:5:10: the script `script.wasm`: it is not a regular file",
        "Has a folder as its script." => |host| folder(host, "package/script.wasm");
    script_of_200_mb: "67 MB of a script", 3, "package/package.toml:5:10: the script package/script.wasm: it is larger than 67 MB",
        "Has a script of two hundred megabytes." => |host| sparse(host, "package/script.wasm", 200 << 20);
    package_that_is_missing: "a package must be there", 3, "there is no package package",
        "Is not there." => |host| fs::remove_dir_all(host.at("package")).unwrap();
}

pub fn section() -> Section {
    let about = "Manifests, and files that they name; in the same bounds.";
    Section { title: "Packages", about: about.to_owned(), attacks: attacks() }
}

#[test]
fn every_file_is_in_the_table() {
    files::all_in_the_table(KEPT, &attacks());
}
