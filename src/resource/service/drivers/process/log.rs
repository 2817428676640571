//! A log that never moves: each file is named by its place in everything that was ever written, so a position means the same
//! before and after a rotation, and a hole shows.
use super::super::lines::{Unreadable, each};
use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Seek, SeekFrom, Write},
    os::unix::{ffi::OsStrExt, fs::OpenOptionsExt},
    path::{Path, PathBuf},
};

fn file_at(dir: &Path, position: u64) -> PathBuf {
    dir.join(format!("{position:020}"))
}

/// Begin and path of every file, in order.
fn files(dir: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(e),
    };
    let mut files = Vec::new();
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        if name.len() == 20
            && name.as_bytes().iter().all(u8::is_ascii_digit)
            && let Some(begin) = name.to_str().and_then(|n| n.parse().ok())
        {
            files.push((begin, entry.path()));
        }
    }
    files.sort_unstable();
    Ok(files)
}

pub struct Writer {
    dir: PathBuf,
    /// Size of a file, and how many old ones are kept.
    limit: u64,
    keep: usize,
    begin: u64,
    written: u64,
    file: Option<File>,
}

impl Writer {
    /// Goes on where the log ends, but not before `at_least`: what had been there was taken away, and must be missed.
    pub fn open(dir: &Path, limit: u64, keep: u32, at_least: u64) -> io::Result<Self> {
        let mut writer =
            Self { dir: dir.to_owned(), limit: limit.max(1), keep: keep as usize, begin: 0, written: 0, file: None };
        match files(dir)?.pop() {
            Some((begin, path)) if begin + fs::metadata(&path)?.len() >= at_least => {
                let mut file = OpenOptions::new().read(true).append(true).open(path)?;
                writer.begin = begin;
                writer.written = file.metadata()?.len();
                let mut last = [b'\n'];
                if writer.written > 0 {
                    file.seek(SeekFrom::End(-1))?;
                    file.read_exact(&mut last)?;
                }
                writer.file = Some(file);
                if last != *b"\n" {
                    // A program that was killed in the middle of a line, which the next one must not go on with.
                    writer.append(b"\n");
                }
            }
            _ => writer.next_file(at_least)?,
        }
        Ok(writer)
    }

    pub fn position(&self) -> u64 {
        self.begin + self.written
    }

    /// Never fails: a program must not stand still because its log cannot be written. What is lost leaves a hole.
    pub fn append(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let room = usize::try_from(self.limit.saturating_sub(self.written)).unwrap_or(usize::MAX);
            if room == 0 {
                self.go_on_at(self.position());
                continue;
            }
            let piece = if bytes.len() <= room {
                bytes
            } else {
                // Between two lines, if there is such a place.
                let end = bytes[..room].iter().rposition(|b| *b == b'\n').map_or(room, |end| end + 1);
                &bytes[..end]
            };
            match self.file.as_ref().map(|mut file| file.write(piece)) {
                Some(Ok(n)) if n > 0 => {
                    self.written += n as u64;
                    bytes = &bytes[n..];
                    if n == piece.len() && !bytes.is_empty() {
                        // The rest did not fit.
                        self.go_on_at(self.position());
                    }
                }
                Some(Err(e)) if e.kind() == io::ErrorKind::Interrupted => {}
                _ => return self.lose(bytes.len()),
            }
        }
    }

    fn lose(&mut self, bytes: usize) {
        self.go_on_at(self.position() + bytes as u64);
    }

    /// An empty file takes no room on a full disk, so a hole can be told even there.
    fn go_on_at(&mut self, position: u64) {
        let emptied = (self.written == 0 && self.file.is_some()).then(|| file_at(&self.dir, self.begin));
        match emptied {
            Some(empty) if fs::rename(&empty, file_at(&self.dir, position)).is_ok() => self.begin = position,
            _ => {
                if self.next_file(position).is_err() {
                    // Not even that: the position counts on, and the next file that can be made shows the hole.
                    self.file = None;
                    self.begin = position;
                    self.written = 0;
                }
            }
        }
    }

    fn next_file(&mut self, position: u64) -> io::Result<()> {
        let path = file_at(&self.dir, position);
        self.file = Some(OpenOptions::new().create(true).append(true).mode(0o600).open(path)?);
        self.begin = position;
        self.written = 0;
        let old = files(&self.dir).unwrap_or_default();
        for (_, path) in &old[..old.len().saturating_sub(self.keep + 1)] {
            // One that cannot be removed now is tried again at the next rotation.
            let _ = fs::remove_file(path);
        }
        Ok(())
    }
}

/// Where the log ends, on disk: what is said about a later position must hold after a power failure too.
pub fn end(dir: &Path) -> io::Result<u64> {
    loop {
        let Some((begin, path)) = files(dir)?.pop() else { return Ok(0) };
        match File::open(path) {
            Ok(file) => {
                let end = begin + file.metadata()?.len();
                file.sync_data()?;
                File::open(dir)?.sync_all()?;
                return Ok(end);
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(e),
        }
    }
}

const ROTATED: Unreadable = Unreadable::Missing("the log since then was rotated away in part");

/// Gives every line since a position to `see`, without its end, until that has seen enough. A part of a line counts as one.
pub fn lines(dir: &Path, since: u64, see: impl FnMut(&[u8]) -> bool) -> Result<(), Unreadable> {
    let mut files = files(dir)?;
    let from = files.iter().rposition(|(begin, _)| *begin <= since);
    match from {
        Some(from) => drop(files.drain(..from)),
        None if files.is_empty() && since == 0 => return Ok(()),
        None if files.is_empty() => return Err(Unreadable::Missing("the log is not there any more")),
        None => return Err(ROTATED),
    }
    let mut rest: Box<dyn Read> = Box::new(io::empty());
    let mut expected = None;
    for (begin, path) in files {
        if expected.is_some_and(|expected| expected != begin) {
            return Err(Unreadable::Missing("the log has a hole since then: it could not be written"));
        }
        let mut file = match File::open(path) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Err(ROTATED),
            Err(e) => return Err(e.into()),
        };
        // What is written from now on is not looked at.
        let length = file.metadata()?.len();
        let skip = since.saturating_sub(begin);
        if skip > length {
            return Err(Unreadable::Missing("the log is shorter than it was then, or has a hole"));
        }
        file.seek(SeekFrom::Start(skip))?;
        rest = Box::new(rest.chain(file.take(length - skip)));
        expected = Some(begin + length);
    }
    Ok(each(rest, see)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn since(dir: &Path, position: u64) -> Result<Vec<String>, String> {
        let mut found = Vec::new();
        let result = lines(dir, position, |line| {
            found.push(String::from_utf8(line.to_vec()).unwrap());
            true
        });
        result.map(|()| found).map_err(|e| e.to_string())
    }

    #[test]
    fn a_position_means_the_same_after_rotations() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = Writer::open(dir.path(), 30, 3, 0).unwrap();
        log.append(b"one\n");
        let mark = end(dir.path()).unwrap();
        assert_eq!(mark, log.position());
        for n in 0..8 {
            log.append(format!("line {n} and more\n").as_bytes());
        }
        let found = since(dir.path(), mark);
        assert_eq!(found.unwrap_err(), "the log since then was rotated away in part");
        let mark = log.position();
        log.append(b"two\nthree, which does not fit into what is left\nfour");
        assert_eq!(since(dir.path(), mark).unwrap(), ["two", "three, which does not fit into what is left", "four"]);
        let kept = files(dir.path()).unwrap();
        assert_eq!(kept.len(), 4, "three old ones and the current one");
        assert!(kept.iter().all(|(_, path)| fs::metadata(path).unwrap().len() <= 30));
    }

    #[test]
    fn the_next_program_begins_a_line_of_its_own() {
        let dir = tempfile::tempdir().unwrap();
        Writer::open(dir.path(), 1000, 1, 0).unwrap().append(b"killed in the mid");
        let mut log = Writer::open(dir.path(), 1000, 1, 0).unwrap();
        log.append(b"back\n");
        assert_eq!(since(dir.path(), 0).unwrap(), ["killed in the mid", "back"]);
        assert_eq!(end(dir.path()).unwrap(), log.position());
    }

    #[test]
    fn a_long_write_fills_file_after_file() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = Writer::open(dir.path(), 10, 100, 0).unwrap();
        log.append("0123456789abc\n".repeat(5).as_bytes());
        assert_eq!(since(dir.path(), 0).unwrap(), ["0123456789abc"; 5]);
    }

    #[test]
    fn what_was_taken_away_is_missed() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = Writer::open(dir.path(), 1000, 1, 0).unwrap();
        log.append(b"before\n");
        let mark = log.position();
        for (_, path) in files(dir.path()).unwrap() {
            fs::remove_file(path).unwrap();
        }
        assert_eq!(since(dir.path(), mark).unwrap_err(), "the log is not there any more");
        let mut log = Writer::open(dir.path(), 1000, 1, mark + 3).unwrap();
        log.append(b"after, and longer than what was there\n");
        assert_eq!(since(dir.path(), mark).unwrap_err(), "the log since then was rotated away in part");
        assert_eq!(since(dir.path(), mark + 3).unwrap(), ["after, and longer than what was there"]);
    }

    #[test]
    fn what_could_not_be_written_leaves_a_hole() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = Writer::open(dir.path(), 1000, 9, 0).unwrap();
        log.append(b"before\n");
        let mark = log.position();
        // A descriptor that refuses to be written, as on a full disk.
        log.file = Some(File::open(file_at(dir.path(), 0)).unwrap());
        log.append(b"an ERROR that nobody reads\n");
        assert_eq!(since(dir.path(), mark).unwrap_err(), "the log has a hole since then: it could not be written");
        log.file = Some(File::open(file_at(dir.path(), mark + 27)).unwrap());
        log.append(b"and one more\n");
        log.file = Some(OpenOptions::new().append(true).open(file_at(dir.path(), mark + 40)).unwrap());
        log.append(b"after\n");
        assert_eq!(since(dir.path(), mark).unwrap_err(), "the log has a hole since then: it could not be written");
        assert_eq!(since(dir.path(), mark + 40).unwrap(), ["after"]);
        assert_eq!(files(dir.path()).unwrap().len(), 2, "an empty file was renamed, not left behind");
    }
}
