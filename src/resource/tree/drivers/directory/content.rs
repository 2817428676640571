//! Digests of what is in a file, and around it.
use rustix::{
    fs::{SeekFrom, XattrFlags},
    io::Errno,
};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::{fmt, io, os::fd::BorrowedFd};

#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest([u8; 32]);

impl Digest {
    pub fn end(hash: Sha256) -> Self {
        Self(hash.finalize().into())
    }
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}
impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|b| write!(f, "{b:02x}"))
    }
}
impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.to_string()
    }
}
impl TryFrom<String> for Digest {
    type Error = &'static str;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        let mut bytes = [0; 32];
        if text.len() != 64 || !text.is_ascii() {
            return Err("not 64 hexadecimal digits");
        }
        for (byte, digits) in bytes.iter_mut().zip(text.as_bytes().chunks(2)) {
            let digits = std::str::from_utf8(digits).map_err(|_| "not hexadecimal")?;
            *byte = u8::from_str_radix(digits, 16).map_err(|_| "not hexadecimal")?;
        }
        Ok(Self(bytes))
    }
}

const BLOCK: usize = 128 * 1024;
static ZEROS: [u8; BLOCK] = [0; BLOCK];

/// SHA-256 over the blocks that are not all zero, each with its number, and the size: the same however a file is laid out,
/// and a hole of a terabyte costs nothing.
#[derive(Default)]
pub struct Content {
    hash: Sha256,
}

impl Content {
    /// Every block but the last is of full size.
    fn block(&mut self, number: u64, bytes: &[u8]) {
        if *bytes != ZEROS[..bytes.len()] {
            self.hash.update(number.to_le_bytes());
            self.hash.update((bytes.len() as u64).to_le_bytes());
            self.hash.update(bytes);
        }
    }
    fn end(mut self, size: u64) -> Digest {
        self.hash.update(u64::MAX.to_le_bytes());
        self.hash.update(size.to_le_bytes());
        Digest::end(self.hash)
    }

    /// Of the first `size` bytes of a file: one that keeps growing is read to its end as well.
    pub fn of_file(file: BorrowedFd, size: u64, did: &mut dyn FnMut(u64) -> io::Result<()>) -> io::Result<Digest> {
        let mut content = Self::default();
        let mut buffer = vec![0; BLOCK];
        let mut number = 0;
        while let Some((begin, end)) = next_data(file, number * BLOCK as u64, size)? {
            number = begin / BLOCK as u64;
            while number * (BLOCK as u64) < end {
                let at = number * BLOCK as u64;
                let want = usize::try_from((size - at).min(BLOCK as u64)).unwrap_or(BLOCK);
                let got = read_full(file, at, &mut buffer[..want])?;
                content.block(number, &buffer[..got]);
                did(got as u64)?;
                if got < want {
                    return Ok(content.end(at + got as u64));
                }
                number += 1;
            }
        }
        Ok(content.end(size))
    }

    /// The same of a stream; `seen` gets every block and its place.
    pub fn of_stream(
        stream: &mut dyn io::Read,
        seen: &mut dyn FnMut(u64, &[u8]) -> io::Result<()>,
    ) -> io::Result<(Digest, u64)> {
        let mut content = Self::default();
        let mut buffer = vec![0; BLOCK];
        for number in 0.. {
            let mut got = 0;
            while got < BLOCK {
                match stream.read(&mut buffer[got..])? {
                    0 => break,
                    n => got += n,
                }
            }
            let at = number * BLOCK as u64;
            content.block(number, &buffer[..got]);
            seen(at, &buffer[..got])?;
            if got < BLOCK {
                return Ok((content.end(at + got as u64), at + got as u64));
            }
        }
        Err(io::ErrorKind::FileTooLarge.into())
    }
}

/// The same of what is written to it; `seen` gets every block and its place.
pub struct Poured<F> {
    content: Content,
    block: Vec<u8>,
    number: u64,
    seen: F,
}

impl<F: FnMut(u64, &[u8]) -> io::Result<()>> Poured<F> {
    pub fn new(seen: F) -> Self {
        Self { content: Content::default(), block: Vec::new(), number: 0, seen }
    }

    fn block(&mut self) -> io::Result<()> {
        self.content.block(self.number, &self.block);
        (self.seen)(self.number * BLOCK as u64, &self.block)?;
        self.number += 1;
        self.block.clear();
        Ok(())
    }

    /// Digest and size.
    pub fn end(mut self) -> io::Result<(Digest, u64)> {
        let size = self.number * BLOCK as u64 + self.block.len() as u64;
        if !self.block.is_empty() {
            self.block()?;
        }
        Ok((self.content.end(size), size))
    }
}

impl<F: FnMut(u64, &[u8]) -> io::Result<()>> io::Write for Poured<F> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.len().min(BLOCK - self.block.len());
        self.block.extend_from_slice(&bytes[..taken]);
        if self.block.len() == BLOCK {
            self.block()?;
        }
        Ok(taken)
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

pub fn is_zero(bytes: &[u8]) -> bool {
    bytes.chunks(BLOCK).all(|chunk| *chunk == ZEROS[..chunk.len()])
}

/// The next region from `from` on that is no hole. File systems that know no holes have one region.
pub fn next_data(file: BorrowedFd, from: u64, size: u64) -> io::Result<Option<(u64, u64)>> {
    if from >= size {
        return Ok(None);
    }
    let begin = match rustix::fs::seek(file, SeekFrom::Data(from)) {
        Ok(begin) => begin,
        Err(Errno::NXIO) => return Ok(None),
        Err(Errno::INVAL | Errno::OPNOTSUPP) => return Ok(Some((from, size))),
        Err(e) => return Err(e.into()),
    };
    let end = rustix::fs::seek(file, SeekFrom::Hole(begin))?;
    Ok((begin < size).then_some((begin, end.min(size))))
}

fn read_full(file: BorrowedFd, at: u64, buffer: &mut [u8]) -> io::Result<usize> {
    let mut got = 0;
    while got < buffer.len() {
        match rustix::io::pread(file, &mut buffer[got..], at + got as u64) {
            Ok(0) => break,
            Ok(n) => got += n,
            Err(Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
    }
    Ok(got)
}

/// Extended attributes that change what a file is: access lists, capabilities of programs, those of the user. Labels that
/// the system sets by itself (SELinux, IMA) are not among them.
pub type Attributes = Vec<(String, Vec<u8>)>;

pub fn kept(name: &str) -> bool {
    name.starts_with("user.")
        || matches!(name, "security.capability" | "system.posix_acl_access" | "system.posix_acl_default")
}

/// Sorted by name. A file system that knows no attributes has none.
pub fn attributes(file: BorrowedFd) -> io::Result<Attributes> {
    let names = loop {
        let mut names = match rustix::fs::flistxattr_query(file) {
            Ok(0) | Err(Errno::OPNOTSUPP | Errno::NOSYS) => return Ok(Vec::new()),
            Ok(length) => vec![0; length],
            Err(e) => return Err(e.into()),
        };
        match rustix::fs::flistxattr(file, &mut names[..]) {
            Ok(length) => {
                names.truncate(length);
                break names;
            }
            // It grew in between.
            Err(Errno::RANGE) => {}
            Err(e) => return Err(e.into()),
        }
    };
    let mut attributes = Vec::new();
    for name in names.split(|b| *b == 0).filter_map(|name| std::str::from_utf8(name).ok()).filter(|name| kept(name)) {
        let mut value = vec![0; 64 * 1024];
        match rustix::fs::fgetxattr(file, name, &mut value[..]) {
            Ok(length) => {
                value.truncate(length);
                attributes.push((name.to_owned(), value));
            }
            Err(Errno::NODATA) => {}
            Err(e) => return Err(e.into()),
        }
    }
    attributes.sort();
    Ok(attributes)
}

/// None at all is the common case.
pub fn digest_of(attributes: &Attributes) -> Option<Digest> {
    if attributes.is_empty() {
        return None;
    }
    let mut hash = Sha256::new();
    for (name, value) in attributes {
        hash.update((name.len() as u64).to_le_bytes());
        hash.update(name);
        hash.update((value.len() as u64).to_le_bytes());
        hash.update(value);
    }
    Some(Digest::end(hash))
}

/// Makes a file have exactly these. What it inherited from its folder and should not have goes away.
pub fn set_attributes(file: BorrowedFd, wanted: &Attributes) -> io::Result<()> {
    let have = attributes(file)?;
    for (name, _) in have.iter().filter(|(name, _)| !wanted.iter().any(|(n, _)| n == name)) {
        rustix::fs::fremovexattr(file, name.as_str())?;
    }
    for (name, value) in wanted.iter().filter(|one| !have.contains(one)) {
        rustix::fs::fsetxattr(file, name.as_str(), value, XattrFlags::empty())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs::File, os::fd::AsFd, os::unix::fs::FileExt};

    fn of(file: &File) -> Digest {
        Content::of_file(file.as_fd(), file.metadata().unwrap().len(), &mut |_| Ok(())).unwrap()
    }

    #[test]
    fn holes_and_zeros_are_the_same_content_and_cost_nothing() {
        let holes = tempfile::tempfile().unwrap();
        let zeros = tempfile::tempfile().unwrap();
        for file in [&holes, &zeros] {
            file.set_len(1_000_000).unwrap();
            file.write_at(b"middle", 500_001).unwrap();
        }
        zeros.write_at(&[0; 200_000], 100_000).unwrap();
        assert_eq!(of(&holes), of(&zeros));
        let mut bytes = vec![0; 1_000_000];
        bytes[500_001..500_007].copy_from_slice(b"middle");
        let (streamed, size) = Content::of_stream(&mut &bytes[..], &mut |_, _| Ok(())).unwrap();
        assert_eq!((streamed, size), (of(&holes), 1_000_000));
        holes.set_len(1_000_001).unwrap();
        assert_ne!(of(&holes), of(&zeros), "one zero more at the end");
        zeros.write_at(b"Middle", 500_001).unwrap();
        zeros.set_len(1_000_001).unwrap();
        assert_ne!(of(&holes), of(&zeros));
        holes.set_len(1 << 40).unwrap();
        let began = std::time::Instant::now();
        of(&holes);
        assert!(began.elapsed().as_secs() < 5);
    }

    #[test]
    fn the_place_of_a_block_counts() {
        let a = tempfile::tempfile().unwrap();
        let b = tempfile::tempfile().unwrap();
        a.write_at(b"x", 0).unwrap();
        b.write_at(b"x", BLOCK as u64).unwrap();
        a.set_len(3 * BLOCK as u64).unwrap();
        b.set_len(3 * BLOCK as u64).unwrap();
        assert_ne!(of(&a), of(&b));
        let empty = tempfile::tempfile().unwrap();
        assert_eq!(of(&empty), Content::of_stream(&mut io::empty(), &mut |_, _| Ok(())).unwrap().0);
    }
}
