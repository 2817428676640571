//! An observer from outside: the kernel, asked what a dry run has it do.
use crate::support::{guests, shop::Shop};
use backout::cli::demo::releases::Version;
use expect_test::{Expect, expect};
use std::{
    collections::BTreeSet,
    fs,
    process::{Command, Stdio},
};

/// Whatever changes a file, talks to somebody, starts or ends a process. Names with `?` are not on every processor.
const CHANGING: &str = "?open,openat,?openat2,?creat,?unlink,unlinkat,?rename,?renameat,renameat2,?mkdir,mkdirat,?rmdir,?link,linkat,?symlink,\
     symlinkat,?chmod,fchmod,fchmodat,?chown,?lchown,fchown,fchownat,truncate,ftruncate,fallocate,?utime,?utimes,utimensat,setxattr,lsetxattr,\
     fsetxattr,removexattr,lremovexattr,fremovexattr,?mknod,mknodat,mount,umount2,write,pwrite64,writev,pwritev,pwritev2,copy_file_range,\
     sendfile,sendto,sendmsg,sendmmsg,connect,bind,listen,execve,execveat,kill,tkill,tgkill,rt_sigqueueinfo,pidfd_send_signal,?vfork,?fork,ptrace";

/// What it did, in words, each once. `names` stand for paths and addresses that differ from run to run.
fn watched(shop: &Shop, arguments: &[&str], names: &[(&str, &str)]) -> BTreeSet<String> {
    let traces = shop.folder.path("../traces");
    fs::create_dir(&traces).unwrap();
    let plain = shop.command(arguments);
    let mut command = Command::new("strace");
    // A file for each thread, so that no line stands in the midst of another.
    command.args(["-ff", "-yy", "-s", "200", "-e", &format!("trace={CHANGING}"), "-e", "signal=none", "-o"]);
    command.arg(traces.join("of")).arg("--").arg(plain.get_program()).args(plain.get_args());
    command.envs(plain.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.current_dir(plain.get_current_dir().unwrap()).stdin(Stdio::null());
    let output = command.output().unwrap_or_else(|error| panic!("strace: {error}"));
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(0), "{err}\n{out}");
    let mut seen = BTreeSet::new();
    for trace in fs::read_dir(&traces).unwrap().flatten() {
        let text = fs::read_to_string(trace.path()).unwrap();
        let lines = text.lines().filter(|line| !line.starts_with("+++"));
        seen.extend(lines.filter_map(|line| {
            let line = names.iter().fold(line.to_owned(), |line, (path, name)| line.replace(path, name));
            in_words(&line)
        }));
    }
    fs::remove_dir_all(&traces).unwrap();
    seen
}

/// What one call into the kernel changes or tells somebody; nothing where it only reads or has failed.
fn in_words(line: &str) -> Option<String> {
    let (call, rest) = line.split_once('(').unwrap_or_else(|| panic!("not understood: {line}"));
    let (arguments, result) = rest.rsplit_once(" = ").unwrap_or_else(|| panic!("not understood: {line}"));
    let begun = result.contains("EINPROGRESS");
    if result.starts_with('-') && !begun {
        return None;
    }
    // `12</a/path>` or `12<TCP:[127.0.0.1:1->127.0.0.1:2]>`
    let of_descriptor = || {
        let (_, after) = arguments.split_once('<').unwrap_or_else(|| panic!("not understood: {line}"));
        after.split_once(['>', ' ']).map(|(path, _)| path.to_owned()).unwrap()
    };
    let text = || arguments.split('"').nth(1).unwrap_or_default();
    match call {
        "open" | "openat" | "openat2" | "creat" => {
            let writes =
                ["O_WRONLY", "O_RDWR", "O_CREAT", "O_TRUNC", "O_TMPFILE"].iter().any(|flag| arguments.contains(flag));
            writes.then(|| format!("opens to write: {}", text()))
        }
        "write" | "pwrite64" | "writev" | "pwritev" | "pwritev2" | "sendto" | "sendmsg" | "sendmmsg" => {
            let to = of_descriptor();
            match to.as_str() {
                _ if to.starts_with("TCP") => {
                    let line = text().split("\\r\\n").next().unwrap_or_default();
                    Some(format!("asks: {line}"))
                }
                // Between the program's own threads, and what it says.
                _ if to.starts_with("anon_inode:[eventfd]") || to.starts_with("UNIX") || to.starts_with("pipe:") => {
                    None
                }
                _ => Some(format!("writes to {to}")),
            }
        }
        "ftruncate" | "fallocate" | "fchmod" | "fchown" | "fsetxattr" | "fremovexattr" => {
            Some(format!("{call} of {}", of_descriptor()))
        }
        "connect" => {
            let port = arguments.split("htons(").nth(1).and_then(|port| port.split(')').next());
            Some(format!("connects to {}", port.unwrap_or(arguments)))
        }
        "execve" => Some(format!("runs {}", text())),
        _ => Some(format!("{call} {arguments}")),
    }
}

/// Files beside a database are how SQLite's readers tell writers of themselves; the lock is held while a service's record is read.
#[test]
fn a_dry_run_only_reads_and_asks() {
    let shop = Shop::running(Version::V2Good);
    let package = shop.package();
    let package = package.to_str().unwrap();
    let cache = guests::target("observed-cache");
    let _ = fs::remove_dir_all(&cache);
    let root = shop.folder.root.canonicalize().unwrap();
    let (cache, root) = (cache.to_str().unwrap(), root.to_str().unwrap());
    // Compiles the script once, so that what is seen is the dry run's alone.
    shop.expect(0, &["plan", "--cache", cache, package]);
    let port = shop.folder.port.to_string();
    let names = [(cache, "CACHE"), (root, "HOST"), (port.as_str(), "SHOP"), (env!("CARGO_BIN_EXE_backout"), "backout")];
    let is = |arguments: &[&str], expected: Expect| {
        let seen: Vec<String> = watched(&shop, arguments, &names).into_iter().map(|line| line + "\n").collect();
        expected.assert_eq(&seen.concat());
    };
    is(
        &["plan", "--cache", cache, package],
        expect![[r#"
            asks: GET /metrics.json HTTP/1.1
            connects to SHOP
            fchown of HOST/srv/data/shop.db-shm
            fchown of HOST/srv/data/shop.db-wal
            opens to write: HOST/srv/data/shop.db-shm
            opens to write: HOST/srv/data/shop.db-wal
            opens to write: HOST/state/services/shop/lock
            runs backout
        "#]],
    );
    is(
        &["explore", "--paths", "50", "--cache", cache, package],
        expect![[r#"
            asks: GET /metrics.json HTTP/1.1
            connects to SHOP
            fchown of HOST/srv/data/shop.db-shm
            fchown of HOST/srv/data/shop.db-wal
            opens to write: HOST/srv/data/shop.db-shm
            opens to write: HOST/srv/data/shop.db-wal
            opens to write: HOST/state/services/shop/lock
            runs backout
        "#]],
    );
    is(
        &["test", "--paths", "50", "--cache", cache, package],
        expect![[r#"
        runs backout
    "#]],
    );
}
