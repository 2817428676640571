//! Power that fails in the middle of a write: what was committed is there, whatever became of the rest, and the rest is left out
//! with a word.
use super::{begin, nowhere, said, written};
use backout::journal::{self, Entry, Header, Journal, Reader};
use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

/// A journal as its writer left it when it was killed: the file, its log up to the last commit, the room behind that, and how long
/// the log was after each entry.
struct Killed {
    db: Vec<u8>,
    log: Vec<u8>,
    room: Vec<u8>,
    lengths: Vec<usize>,
}

async fn killed(entries: usize) -> Killed {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal.db");
    let (journal, run) = begin(&path);
    let log = path.with_extension("db-wal");
    let length = || written(&fs::read(&log).unwrap());
    let mut lengths = vec![length()];
    for n in 1..entries {
        // Of many sizes, so that some take several pages.
        let text = "x".repeat(n * n * 7 % 9000);
        journal.append(run, &nowhere(), 0, said(format!("{n} {text}"))).await.unwrap();
        lengths.push(length());
    }
    assert!(lengths.windows(2).all(|pair| pair[0] < pair[1]), "nothing was moved out of the log");
    let mut log = fs::read(&log).unwrap();
    let room = log.split_off(*lengths.last().unwrap());
    Killed { db: fs::read(&path).unwrap(), log, room, lengths }
}

impl Killed {
    /// How many entries were committed within so many bytes of the log.
    fn committed(&self, bytes: usize) -> usize {
        self.lengths.iter().filter(|length| **length <= bytes).count()
    }

    /// What is there when the log is this one.
    #[track_caller]
    fn expect(&self, log: &[u8], entries: usize, what: &str) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal.db");
        fs::write(&path, &self.db).unwrap();
        fs::write(path.with_extension("db-wal"), log).unwrap();
        let there = Reader::find(&path).unwrap().map_or(Vec::new(), |reader| reader.entries(1).unwrap());
        assert_eq!(there.len(), entries, "{what}");
        for (n, entry) in there.iter().enumerate().skip(1) {
            let Entry::Said { text, .. } = &entry.entry else { panic!("{what}: {entry:?}") };
            assert!(text.starts_with(&format!("{n} ")), "{what}: {text}");
        }
        let audit = journal::audit(&path, &[]).unwrap();
        assert!(audit.is_clean() && audit.entries as usize == entries, "{what}: {audit:#?}");
    }
}

#[tokio::test]
async fn what_was_committed_is_there_wherever_the_log_is_cut() {
    let killed = killed(40).await;
    let boundaries = killed.lengths.iter().flat_map(|length| [length - 1, *length, length + 1]);
    let cuts: Vec<usize> =
        (0..killed.log.len()).step_by(1013).chain(boundaries).filter(|cut| *cut <= killed.log.len()).collect();
    assert!(cuts.len() > 200, "{}", cuts.len());
    for cut in cuts {
        killed.expect(&killed.log[..cut], killed.committed(cut), &format!("cut at {cut}"));
    }
}

/// A commit that makes the log longer costs the file system one more.
#[tokio::test]
async fn the_log_has_room_which_is_no_tail() {
    let few = killed(4).await;
    assert!(few.room.len() > 100_000 && few.room.iter().all(|byte| *byte == 0), "{}", few.room.len());
    for cut in [few.room.len(), few.room.len() - 1, 50_000, 4_120, 100] {
        let log = [&few.log[..], &few.room[..cut]].concat();
        few.expect(&log, 4, &format!("{cut} bytes of room"));
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal.db");
        fs::write(&path, &few.db).unwrap();
        fs::write(path.with_extension("db-wal"), log).unwrap();
        assert_eq!(left_out(&path), None, "{cut} bytes of room");
    }
    // All that is ever made: a log that is begun again does not grow.
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal.db");
    let (journal, run) = begin(&path);
    let mut lengths = std::collections::BTreeSet::new();
    for n in 0..2_500 {
        journal.append(run, &nowhere(), 0, said(format!("{n}"))).await.unwrap();
        lengths.insert(fs::metadata(path.with_extension("db-wal")).unwrap().len());
    }
    assert!((2..40).contains(&lengths.len()) && *lengths.last().unwrap() < 8 << 20, "{lengths:?}");
}

/// Without a sync any block may have reached the disk, or not.
#[tokio::test]
async fn what_was_committed_is_there_whatever_became_of_what_was_not_synced() {
    let killed = killed(24).await;
    for (n, length) in killed.lengths.iter().enumerate() {
        let entries = n + 1;
        let tail = killed.log.len() - length;
        if tail == 0 {
            continue;
        }
        let mut zeros = killed.log.clone();
        zeros[*length..].fill(0);
        killed.expect(&zeros, entries, &format!("zeros behind entry {entries}"));
        let mut lost = killed.log.clone();
        let block = (length + 24).next_multiple_of(512).min(lost.len());
        lost[*length..block].fill(0);
        killed.expect(&lost, entries, &format!("the first block behind entry {entries} is lost"));
        for bit in 0..8 {
            let mut flipped = killed.log.clone();
            flipped[length + (bit * 997 + 3) % tail.min(4000)] ^= 1 << bit;
            // A flipped bit in what follows ends the log there, and nowhere before.
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("journal.db");
            fs::write(&path, &killed.db).unwrap();
            fs::write(path.with_extension("db-wal"), flipped).unwrap();
            let there = Reader::open(&path).unwrap().entries(1).unwrap().len();
            assert!(there >= entries, "bit {bit} behind entry {entries}: {there}");
            assert!(journal::audit(&path, &[]).unwrap().is_clean());
        }
    }
}

/// People are told who asked for nothing but their work.
#[tokio::test]
async fn what_is_left_out_is_told_on_the_terminal() {
    let killed = killed(5).await;
    let site = crate::past::Site::new();
    fs::create_dir_all(site.state()).unwrap();
    fs::write(site.journal(), &killed.db).unwrap();
    fs::write(site.journal().with_extension("db-wal"), &killed.log[..killed.log.len() - 100]).unwrap();
    let unfence = || {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_backout"));
        let output = command.arg("unfence").current_dir(site.state().parent().unwrap()).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stderr).unwrap()
    };
    let said = unfence();
    assert!(said.contains("bytes of the journal were never committed, and are left out"), "{said}");
    assert!(!unfence().contains("never committed"), "once");
}

/// What is logged while something is done on this thread.
fn logged(act: impl FnOnce()) -> String {
    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);
    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let lines = Lines::default();
    let written = lines.clone();
    let log = tracing_subscriber::fmt().with_ansi(false).with_writer(move || lines.clone()).finish();
    tracing::subscriber::with_default(log, act);
    String::from_utf8(std::mem::take(&mut *written.0.lock().unwrap())).unwrap()
}

fn left_out(path: &Path) -> Option<usize> {
    let text = logged(|| drop(Journal::begin(path, Header::default(), Arc::new(|_| ())).unwrap()));
    let line = text.lines().find(|line| line.contains("were never committed"))?;
    assert_eq!(text.lines().filter(|line| line.contains("WARN")).count(), 1, "{text}");
    Some(line.split("the last ").nth(1)?.split(' ').next()?.parse().unwrap())
}

#[tokio::test]
async fn what_was_not_committed_is_left_out_with_a_word() {
    let killed = killed(8).await;
    let dir = tempfile::tempdir().unwrap();
    let put = |log: &[u8]| -> PathBuf {
        let path = dir.path().join("journal.db");
        for file in fs::read_dir(dir.path()).unwrap() {
            fs::remove_file(file.unwrap().path()).unwrap();
        }
        fs::write(&path, &killed.db).unwrap();
        fs::write(path.with_extension("db-wal"), log).unwrap();
        path
    };
    let last = *killed.lengths.last().unwrap();
    assert_eq!(last, killed.log.len());
    for (n, length) in killed.lengths.iter().enumerate().skip(1) {
        assert_eq!(left_out(&put(&killed.log[..*length])), None, "a log that ends with a commit");
        let before = killed.lengths[n - 1];
        for more in [1, 17, 24, 4000, 4119] {
            let path = put(&killed.log[..before + more]);
            assert_eq!(left_out(&path), Some(more), "behind entry {n}");
            assert_eq!(left_out(&path), None, "told once");
            assert!(journal::audit(&path, &[]).unwrap().is_clean());
        }
    }
    // What the log before this one left is no tail.
    let (mut log, before) = (killed.log.clone(), killed.lengths[3]);
    for frame in (before..log.len()).step_by(4096 + 24) {
        log[frame + 8..frame + 16].fill(7);
    }
    assert_eq!(left_out(&put(&log)), None);
    let mut beginning = killed.log.clone();
    beginning[..32].fill(0);
    let path = put(&beginning);
    assert_eq!(left_out(&path), Some(beginning.len()), "a log without its beginning");
    assert!(journal::audit(&path, &[]).unwrap().is_clean());
}

/// Also while others have the journal open.
#[tokio::test]
async fn who_writes_at_the_same_time_leaves_no_tail() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal.db");
    let (journal, run) = begin(&path);
    for n in 0..20 {
        journal.append(run, &nowhere(), 0, said(format!("{n}"))).await.unwrap();
        assert_eq!(left_out(&path), None);
    }
}
