//! The end of a write-ahead log behind the last commit: what a process was writing when it was killed. SQLite leaves it out; here it is
//! measured, so that somebody can be told.
use std::{
    fs::File,
    io::{self, BufReader, Read},
    path::Path,
};

const HEADER: usize = 32;
const FRAME: usize = 24;

/// Bytes that no commit covers, of a log that nobody writes to meanwhile.
pub fn uncommitted(log: &Path) -> io::Result<u64> {
    let file = match File::open(log) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        Err(error) => return Err(error),
    };
    let length = file.metadata()?.len();
    let mut log = BufReader::with_capacity(1 << 16, file);
    let mut header = [0; HEADER];
    if length == 0 {
        return Ok(0);
    }
    // A log whose beginning never reached the disk has no commit either.
    let Some(big_endian) = read(&mut log, &mut header)?.then(|| order(&header)).flatten() else { return Ok(length) };
    let page = number(&header, 8) as usize;
    let mut sum = [0; 2];
    add(&mut sum, &header[..24], big_endian);
    if !(512..=65536).contains(&page) || sum != [number(&header, 24), number(&header, 28)] {
        return Ok(length);
    }
    let salts = &header[16..24];
    let mut frame = vec![0; FRAME + page];
    let (mut at, mut committed, mut end, mut whole) = (HEADER as u64, HEADER as u64, HEADER as u64, true);
    loop {
        let got = fill(&mut log, &mut frame)?;
        // Frames of the log before this one stand behind its end, with other salts.
        if got == 0 || got >= 16 && frame[8..16] != *salts {
            break;
        }
        at += got as u64;
        end = at;
        if got < frame.len() {
            break;
        }
        add(&mut sum, &frame[..8], big_endian);
        add(&mut sum, &frame[FRAME..], big_endian);
        whole &= sum == [number(&frame, 16), number(&frame, 20)];
        if whole && number(&frame, 4) != 0 {
            committed = at;
        }
    }
    Ok(end - committed)
}

fn order(header: &[u8]) -> Option<bool> {
    match number(header, 0) {
        0x377f_0682 => Some(false),
        0x377f_0683 => Some(true),
        _ => None,
    }
}

fn number(bytes: &[u8], at: usize) -> u32 {
    bytes[at..at + 4].iter().fold(0, |number, byte| number << 8 | u32::from(*byte))
}

/// SQLite's own checksum.
fn add(sum: &mut [u32; 2], bytes: &[u8], big_endian: bool) {
    for pair in bytes.chunks_exact(8) {
        let word = |at: usize| if big_endian { number(pair, at) } else { number(pair, at).swap_bytes() };
        sum[0] = sum[0].wrapping_add(word(0)).wrapping_add(sum[1]);
        sum[1] = sum[1].wrapping_add(word(4)).wrapping_add(sum[0]);
    }
}

fn read(from: &mut impl Read, to: &mut [u8]) -> io::Result<bool> {
    Ok(fill(from, to)? == to.len())
}

fn fill(from: &mut impl Read, to: &mut [u8]) -> io::Result<usize> {
    let mut got = 0;
    while got < to.len() {
        match from.read(&mut to[got..]) {
            Ok(0) => break,
            Ok(more) => got += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(got)
}
