//! A log that somebody else writes into a file, and somebody else rotates. A mark names the file by what it is, not by what it is
//! called: after a rotation it is found under its new name, with all that came after it.
use super::{
    super::Mark,
    lines::{Unreadable, each},
};
use rustix::fs::{AtFlags, Mode, OFlags, StatxFlags, open, statx};
use sha2::{Digest, Sha256};
use std::{
    fs::{self, File},
    io::{self, Read, Seek, SeekFrom},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

/// So many bytes before a place show that it is the same place still.
const TAIL: u64 = 64;
/// By so much the times of a file system may be behind, nanoseconds.
const COARSE: i128 = 20_000_000;
/// What rotates logs makes the old ones smaller so.
const PACKED: &[&str] = &["gz", "bz2", "xz", "zst", "lz4", "Z"];

/// Which file that is: also when its number is given to another one later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Identity {
    device: (u32, u32),
    inode: u64,
    /// nanoseconds; 0 where the file system does not say
    born: i128,
}

/// What a mark says, as one word: `DEVICE.MINOR.INODE.BORN.AT.TAIL`, or `none.AT` when there was no file.
struct Place {
    file: Option<(Identity, String)>,
    at: i128,
}

impl Place {
    fn word(&self) -> String {
        match &self.file {
            None => format!("none.{}", self.at),
            Some((Identity { device: (major, minor), inode, born }, tail)) => {
                format!("{major}.{minor}.{inode}.{born}.{}.{tail}", self.at)
            }
        }
    }

    fn parse(word: &str) -> Option<Self> {
        let parts: Vec<&str> = word.split('.').collect();
        match parts[..] {
            ["none", at] => Some(Self { file: None, at: at.parse().ok()? }),
            [major, minor, inode, born, at, tail] => {
                let device = (major.parse().ok()?, minor.parse().ok()?);
                let identity = Identity { device, inode: inode.parse().ok()?, born: born.parse().ok()? };
                Some(Self { file: Some((identity, tail.to_owned())), at: at.parse().ok()? })
            }
            _ => None,
        }
    }
}

/// A log file, held on to.
struct Opened {
    file: File,
    identity: Identity,
    changed: i128,
    length: u64,
}

impl Opened {
    /// Never what a link stands for, and never what is no file: its writer may put anything there.
    fn at(path: &Path) -> io::Result<Option<Self>> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = match open(path, flags, Mode::empty()) {
            Ok(file) => File::from(file),
            Err(rustix::io::Errno::NOENT) => return Ok(None),
            Err(rustix::io::Errno::LOOP) => return Err(io::Error::other("it is a link")),
            Err(error) => return Err(error.into()),
        };
        if !file.metadata()?.is_file() {
            return Err(io::Error::other("it is no regular file"));
        }
        let wanted = StatxFlags::BASIC_STATS | StatxFlags::BTIME;
        let about = statx(&file, "", AtFlags::EMPTY_PATH, wanted)?;
        let nanoseconds =
            |time: rustix::fs::StatxTimestamp| i128::from(time.tv_sec) * 1_000_000_000 + i128::from(time.tv_nsec);
        let born = if about.stx_mask & StatxFlags::BTIME.bits() == 0 { 0 } else { nanoseconds(about.stx_btime) };
        let identity = Identity { device: (about.stx_dev_major, about.stx_dev_minor), inode: about.stx_ino, born };
        Ok(Some(Self { file, identity, changed: nanoseconds(about.stx_mtime), length: about.stx_size }))
    }

    /// What stands before a position.
    fn tail(&self, position: u64) -> io::Result<String> {
        let from = position.saturating_sub(TAIL);
        let mut bytes = vec![0; usize::try_from(position - from).unwrap_or_default()];
        self.file.read_exact_at(&mut bytes, from)?;
        Ok(Sha256::digest(&bytes)[..8].iter().map(|byte| format!("{byte:02x}")).collect())
    }

    /// What is there from a position to its end as it is now.
    fn rest(mut self, position: u64) -> io::Result<impl Read> {
        self.file.seek(SeekFrom::Start(position))?;
        Ok(self.file.take(self.length.saturating_sub(position)))
    }
}

/// The end of the log. What was written before is on disk when it returns.
pub fn mark(path: &Path) -> io::Result<Mark> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let at = i128::try_from(now.as_nanos()).unwrap_or_default();
    let (position, file) = match Opened::at(path)? {
        None => (0, None),
        Some(log) => {
            log.file.sync_data()?;
            (log.length, Some((log.identity, log.tail(log.length)?)))
        }
    };
    Ok(Mark { position, place: Some(Place { file, at }.word()) })
}

const GONE: Unreadable = Unreadable::Missing("the log since then was rotated away in part");
const CUT: Unreadable = Unreadable::Missing("the log was cut off or written over since then");

/// Gives every line since a mark to `see`, without its end, until that has seen enough.
pub fn lines(path: &Path, since: &Mark, see: impl FnMut(&[u8]) -> bool) -> Result<(), Unreadable> {
    let place = since.place.as_deref().and_then(Place::parse);
    let place = place.ok_or(Unreadable::Missing("the mark was set while another driver kept the log"))?;
    // First, so that what is rotated meanwhile is seen twice rather than not at all, and told by its identity.
    let current = Opened::at(path)?;
    let mut later = Vec::new();
    let mut marked = None;
    let is_marked = |log: &Opened| place.file.as_ref().is_some_and(|(identity, _)| *identity == log.identity);
    let current_is_marked = current.as_ref().is_some_and(&is_marked);
    for (name, rotated) in siblings(path)? {
        let packed = name.rsplit_once('.').is_some_and(|(_, end)| PACKED.contains(&end));
        // A link, or what went away meanwhile, is no part of the log.
        let Ok(Some(log)) = Opened::at(&rotated) else { continue };
        if current.as_ref().is_some_and(|current| current.identity == log.identity) {
            continue;
        }
        if is_marked(&log) {
            marked = Some(log);
        } else if log.changed > place.at - COARSE {
            if packed {
                return Err(Unreadable::Missing("the log since then was rotated and packed in part"));
            }
            if current_is_marked {
                // A copy was taken, and the file emptied: what was written between the two is nowhere.
                return Err(CUT);
            }
            later.push(log);
        }
    }
    let Some(current) = current else { return Err(Unreadable::Missing("the log is not there")) };
    if current_is_marked {
        marked = Some(current);
    } else {
        later.push(current);
    }
    later.sort_by_key(|log| (log.identity.born, log.changed));
    let mut rest: Box<dyn Read> = Box::new(io::empty());
    if let Some((_, tail)) = &place.file {
        let marked = marked.ok_or(GONE)?;
        if marked.length < since.position || marked.tail(since.position)? != *tail {
            return Err(CUT);
        }
        rest = Box::new(marked.rest(since.position)?);
    }
    for log in later {
        rest = Box::new(rest.chain(log.rest(0)?));
    }
    Ok(each(rest, see)?)
}

/// What a rotation may have made of the file: `NAME.1`, `NAME-20260101.gz`.
fn siblings(path: &Path) -> io::Result<Vec<(String, PathBuf)>> {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name().and_then(|name| name.to_str())) else {
        return Ok(Vec::new());
    };
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let Some(other) = entry.file_name().to_str().map(str::to_owned) else { continue };
        let numbered = other.strip_prefix(name).and_then(|rest| rest.strip_prefix(['.', '-']));
        if numbered.is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit())) {
            found.push((other, entry.path()));
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    struct Log(tempfile::TempDir);

    impl Log {
        fn new() -> Self {
            Self(tempfile::tempdir().unwrap())
        }
        fn at(&self, name: &str) -> PathBuf {
            self.0.path().join(name)
        }
        fn path(&self) -> PathBuf {
            self.at("shop.log")
        }
        fn says(&self, text: &str) {
            let mut file = fs::OpenOptions::new().append(true).create(true).open(self.path()).unwrap();
            file.write_all(text.as_bytes()).unwrap();
        }
        fn moves(&self, from: &str, to: &str) {
            fs::rename(self.at(from), self.at(to)).unwrap();
        }
        fn mark(&self) -> Mark {
            // The times of files are coarse, those of marks are not: what happens right before or after counts as either.
            let pause = || std::thread::sleep(std::time::Duration::from_millis(50));
            pause();
            let mark = mark(&self.path()).unwrap();
            pause();
            mark
        }
        fn since(&self, mark: &Mark) -> Result<Vec<String>, String> {
            let mut found = Vec::new();
            let result = lines(&self.path(), mark, |line| {
                found.push(String::from_utf8(line.to_vec()).unwrap());
                true
            });
            result.map(|()| found).map_err(|e| e.to_string())
        }
    }

    #[test]
    fn a_mark_is_found_again_under_every_name() {
        let log = Log::new();
        log.says("before\n");
        log.moves("shop.log", "shop.log.1");
        log.says("old\n");
        let mark = log.mark();
        assert_eq!(log.since(&mark).unwrap(), [""; 0]);
        log.says("one\n");
        assert_eq!(log.since(&mark).unwrap(), ["one"]);
        log.moves("shop.log.1", "shop.log.2");
        log.moves("shop.log", "shop.log.1");
        assert_eq!(log.since(&mark).unwrap_err(), "the log is not there", "no data is no pass");
        log.says("two\n");
        log.moves("shop.log.2", "shop.log.3");
        log.moves("shop.log.1", "shop.log.2");
        log.moves("shop.log", "shop.log.1");
        log.says("three\n");
        assert_eq!(log.since(&mark).unwrap(), ["one", "two", "three"]);
        fs::remove_file(log.at("shop.log.3")).unwrap();
        assert_eq!(log.since(&mark).unwrap(), ["one", "two", "three"], "what was before the mark is not missed");
        fs::remove_file(log.at("shop.log.2")).unwrap();
        assert_eq!(log.since(&mark).unwrap_err(), "the log since then was rotated away in part");
    }

    #[test]
    fn what_was_packed_before_the_mark_is_not_missed_and_what_was_after_is() {
        let log = Log::new();
        log.says("old\n");
        fs::write(log.at("shop.log.2.gz"), "packed long ago").unwrap();
        std::thread::sleep(std::time::Duration::from_millis(50));
        let mark = log.mark();
        log.moves("shop.log", "shop.log.1");
        log.says("new\n");
        assert_eq!(log.since(&mark).unwrap(), ["new"]);
        fs::write(log.at("shop.log.2.gz"), "packed now").unwrap();
        assert_eq!(log.since(&mark).unwrap_err(), "the log since then was rotated and packed in part");
    }

    #[test]
    fn a_log_that_was_cut_is_no_clean_log() {
        let log = Log::new();
        log.says("a first line that is long enough\n");
        let mark = log.mark();
        fs::write(log.path(), "short\n").unwrap();
        let cut = "the log was cut off or written over since then";
        assert_eq!(log.since(&mark).unwrap_err(), cut);
        fs::write(log.path(), "another first line that is longer than it was\nERROR\n").unwrap();
        assert_eq!(log.since(&mark).unwrap_err(), cut);
        // What `copytruncate` leaves, of a log that was empty at the mark.
        fs::write(log.path(), "").unwrap();
        let mark = log.mark();
        log.says("ERROR\n");
        fs::copy(log.path(), log.at("shop.log.1")).unwrap();
        fs::write(log.path(), "").unwrap();
        log.says("fine\n");
        assert_eq!(log.since(&mark).unwrap_err(), cut);
    }

    #[test]
    fn a_log_that_came_later_is_read_from_its_beginning() {
        let log = Log::new();
        let mark = log.mark();
        assert_eq!(log.since(&mark).unwrap_err(), "the log is not there");
        log.says("first\n");
        log.moves("shop.log", "shop.log.1");
        log.says("second\n");
        assert_eq!(log.since(&mark).unwrap(), ["first", "second"]);
        assert!(log.since(&Mark::at(0)).unwrap_err().contains("another driver"));
        for broken in ["", "none", "1.2.3", "a.b.c.d.e.f", "none.1.2"] {
            assert!(log.since(&Mark { position: 0, place: Some(broken.to_owned()) }).is_err());
        }
    }

    #[test]
    fn what_is_no_file_is_not_read() {
        let log = Log::new();
        std::os::unix::fs::symlink("/etc/passwd", log.path()).unwrap();
        assert_eq!(mark(&log.path()).unwrap_err().to_string(), "it is a link");
        fs::remove_file(log.path()).unwrap();
        fs::create_dir(log.path()).unwrap();
        assert_eq!(mark(&log.path()).unwrap_err().to_string(), "it is no regular file");
        fs::remove_dir(log.path()).unwrap();
        rustix::fs::mknodat(rustix::fs::CWD, log.path(), rustix::fs::FileType::Fifo, Mode::from_raw_mode(0o600), 0)
            .unwrap();
        assert_eq!(
            mark(&log.path()).unwrap_err().to_string(),
            "it is no regular file",
            "and nobody waits for a writer"
        );
    }
}
