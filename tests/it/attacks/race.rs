//! While a script looks for a way out of its tree, somebody else exchanges what lies in it with links that lead out, as fast as
//! the system allows.
use super::host::SECRET;
use crate::support::packages::Folder;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use std::{
    os::unix::fs::symlink,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
};

/// Exchanges until it is dropped.
pub struct Exchanging {
    over: Arc<AtomicBool>,
    threads: Vec<JoinHandle<u64>>,
}

impl Exchanging {
    /// `swap` and `note` in the tree become links to a folder and a file outside, and themselves again, and so on.
    pub fn in_tree(folder: &Folder) -> Self {
        for place in ["srv/app/swap/note", "srv/app/note"] {
            folder.write(place, "an honest note\n");
        }
        for place in ["srv/vault/note", "srv/vault/outside"] {
            folder.write(place, SECRET);
        }
        symlink("../vault", folder.at("srv/app/swap.link")).unwrap();
        symlink("../vault/note", folder.at("srv/app/note.link")).unwrap();
        let over = Arc::new(AtomicBool::new(false));
        let exchange = |name: &str| {
            let paths: [PathBuf; 2] =
                [format!("srv/app/{name}"), format!("srv/app/{name}.link")].map(|path| folder.at(&path));
            let over = over.clone();
            thread::spawn(move || {
                let mut times = 0;
                // An even number: what was there is there again.
                while !over.load(Ordering::Relaxed) || times % 2 == 1 {
                    renameat_with(CWD, &paths[0], CWD, &paths[1], RenameFlags::EXCHANGE).unwrap();
                    times += 1;
                }
                times
            })
        };
        let threads = ["swap", "note"].map(exchange).into();
        Self { over, threads }
    }
}

impl Drop for Exchanging {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let times = thread.join().unwrap();
            assert!(times > 1_000, "exchanged {times} times only");
        }
    }
}
