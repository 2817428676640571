//! Database and stand-by, byte by byte: where they differ, and how the one becomes the other.
use rustix::fs::Advice::DontNeed;
use std::{fs::File, io, num::NonZeroU64, ops::Range, os::unix::fs::FileExt};

/// A multiple of every page size.
const CHUNK: u64 = 1 << 20;

/// Hears of each run of bytes before it is compared, and may end it.
pub type Tell<'a> = &'a (dyn Fn(u64) -> io::Result<()> + Sync);

pub struct Pages<'a> {
    source: &'a File,
    target: &'a File,
    page: usize,
    /// Length of the source.
    pub total: u64,
}

/// Where the target is not the source's equal.
#[derive(Default)]
pub struct Differences {
    /// Pages that the target does not have; one more when it is longer.
    pub pages: u64,
    /// In ascending order. What lies close together is one place, so that they are few however many pages it are.
    pub places: Vec<Range<u64>>,
}

impl Differences {
    fn add(&mut self, place: Range<u64>) {
        match self.places.last_mut() {
            Some(last) if place.start <= last.end + CHUNK => last.end = place.end,
            _ => self.places.push(place),
        }
    }
}

enum Go {
    On,
    Stop,
}

/// Bytes that two pages do not share, or only what does not count.
#[derive(PartialEq)]
enum Differ {
    Truly,
    Counters,
}

impl<'a> Pages<'a> {
    pub fn of(source: &'a File, target: &'a File) -> io::Result<Self> {
        Ok(Self { source, target, page: page_size(source)?, total: source.metadata()?.len() })
    }

    /// Reads all of both. The counters of the header do not count as a page that differs: a backup sets its own.
    pub fn differences(&self, tell: Tell<'_>) -> io::Result<Differences> {
        let within = |range: Range<u64>| {
            let mut found = Differences::default();
            self.differing(range, tell, |page, at, how| {
                found.pages += u64::from(how == Differ::Truly);
                found.add(at..at + page.len() as u64);
                Ok(Go::On)
            })?;
            Ok::<_, io::Error>(found)
        };
        // Halves at once: memory that holds both files is read faster by two.
        let middle = self.total / 2 / CHUNK * CHUNK;
        let (first, second) = std::thread::scope(|scope| {
            let second = scope.spawn(|| within(middle..self.total));
            (within(0..middle), second.join())
        });
        let (mut all, second) = (first?, second.map_err(|_| io::Error::other("comparing broke off"))??);
        all.pages += second.pages + u64::from(self.target.metadata()?.len() > self.total);
        second.places.into_iter().for_each(|place| all.add(place));
        Ok(all)
    }

    pub fn whole(&self) -> Range<u64> {
        0..self.total
    }

    /// Makes the target the source's equal there, and as long.
    pub fn bring_over(&self, there: &[Range<u64>], tell: Tell<'_>) -> io::Result<()> {
        for range in there {
            self.differing(range.clone(), tell, |page, at, _| self.target.write_all_at(page, at).map(|()| Go::On))?;
        }
        self.target.set_len(self.total)
    }

    /// Whether they are the same there, to the last bit, as far as the system lets us with the target read from the disk.
    pub fn same(&self, there: &[Range<u64>], tell: Tell<'_>) -> io::Result<bool> {
        let mut same = self.source.metadata()?.len() == self.total && self.target.metadata()?.len() == self.total;
        for range in there {
            let _ = rustix::fs::fadvise(self.target, range.start, NonZeroU64::new(range.end - range.start), DontNeed);
            self.differing(range.clone(), tell, |_, _, _| {
                same = false;
                Ok(Go::Stop)
            })?;
        }
        Ok(same)
    }

    fn differing(
        &self,
        range: Range<u64>,
        tell: Tell<'_>,
        mut each: impl FnMut(&[u8], u64, Differ) -> io::Result<Go>,
    ) -> io::Result<()> {
        let size = CHUNK.min(range.end.saturating_sub(range.start)) as usize;
        let (mut ours, mut theirs) = (vec![0; size], vec![0; size]);
        let mut at = range.start;
        while at < range.end {
            let wanted = (range.end - at).min(CHUNK) as usize;
            tell(wanted as u64)?;
            if fill(self.source, &mut ours[..wanted], at)? < wanted {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let known = fill(self.target, &mut theirs[..wanted], at)?;
            if ours[..wanted] != theirs[..known] {
                for (i, page) in ours[..wanted].chunks(self.page).enumerate() {
                    let begin = i * self.page;
                    let known = theirs[..known].get(begin..begin + page.len());
                    if known == Some(page) {
                        continue;
                    }
                    let counters = at == 0 && i == 0 && known.is_some_and(|known| only_counters(page, known));
                    let how = if counters { Differ::Counters } else { Differ::Truly };
                    if matches!(each(page, at + begin as u64, how)?, Go::Stop) {
                        return Ok(());
                    }
                }
            }
            at += wanted as u64;
        }
        Ok(())
    }
}

/// First pages that differ only in what SQLite counts there for its caches: changes of the file and of the schema, and who
/// wrote last. No connection that could remember them survives an exchange.
fn only_counters(page: &[u8], known: &[u8]) -> bool {
    const COUNTERS: [Range<usize>; 3] = [24..28, 40..44, 92..100];
    let mut differing = (0..page.len()).filter(|&at| page[at] != known[at]);
    differing.all(|at| COUNTERS.iter().any(|counter| counter.contains(&at)))
}

fn fill(file: &File, buffer: &mut [u8], at: u64) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read_at(&mut buffer[filled..], at + filled as u64) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(filled)
}

/// From the header; an empty database has none.
fn page_size(file: &File) -> io::Result<usize> {
    let mut header = [0; 18];
    let read = fill(file, &mut header, 0)?;
    let size = usize::from(u16::from_be_bytes([header[16], header[17]]));
    Ok(match size {
        1 => 65_536,
        512.. if read == header.len() => size,
        _ => 4_096,
    })
}
