//! Database and stand-by, byte by byte: where they differ, and how the one becomes the other.
use std::{fs::File, io, ops::Range, os::unix::fs::FileExt};

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

    /// Where they begin to differ. The counters of the header do not count: a backup sets its own.
    pub fn first_difference(&self, tell: Tell<'_>) -> io::Result<Option<u64>> {
        let first_in = |range: Range<u64>| {
            let mut first = None;
            self.differing(range, tell, |_, at, how| {
                first = (how == Differ::Truly).then_some(at);
                Ok(if first.is_some() { Go::Stop } else { Go::On })
            })?;
            Ok::<_, io::Error>(first)
        };
        // Halves at once: memory that holds both files is read faster by two.
        let middle = self.total / 2 / CHUNK * CHUNK;
        let (first, second) = std::thread::scope(|scope| {
            let second = scope.spawn(|| first_in(middle..self.total));
            (first_in(0..middle), second.join())
        });
        let second = second.map_err(|_| io::Error::other("comparing broke off"))?;
        let longer = (self.target.metadata()?.len() > self.total).then_some(self.total);
        Ok(first?.or(second?).or(longer))
    }

    /// Makes the target the source's equal from there on, where they begin to differ. How many pages it did not have; one
    /// more when it was longer.
    pub fn bring_over(&self, from: u64, tell: Tell<'_>) -> io::Result<u64> {
        let mut count = u64::from(self.target.metadata()?.len() > self.total);
        let mut write = |page: &[u8], at, how| {
            count += u64::from(how == Differ::Truly);
            self.target.write_all_at(page, at).map(|()| Go::On)
        };
        // The first page may differ in what does not count. It is brought over all the same, so that nothing differs at all.
        let first = (self.page as u64).min(self.total);
        self.differing(0..first, tell, &mut write)?;
        self.differing(from.max(first)..self.total, tell, &mut write)?;
        self.target.set_len(self.total)?;
        Ok(count)
    }

    /// Whether they are the same, to the last bit.
    pub fn same(&self, tell: Tell<'_>) -> io::Result<bool> {
        let mut same = self.source.metadata()?.len() == self.total && self.target.metadata()?.len() == self.total;
        self.differing(0..self.total, tell, |_, _, _| {
            same = false;
            Ok(Go::Stop)
        })?;
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
