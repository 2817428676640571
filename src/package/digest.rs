//! What a package is, as one number. The digest is the SHA-256 of these lines, each ended by a line feed:
//!
//! ```text
//! backout-package-1
//! manifest SHA256
//! script SHA256
//! payload NAME SHA256        one for each payload, by name
//! ```
//!
//! Names hold no spaces or line feeds, so different packages have different lines.
use crate::diagnostic::io_reason;
use sha2::{Digest, Sha256};
use std::{collections::BTreeMap, fmt::Write, fs::File, io::Read, path::Path};

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut out, byte| {
        // Writing into a string cannot fail.
        let _ = write!(out, "{byte:02x}");
        out
    })
}

pub fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// Digest and size of a file, read once and never held as a whole.
pub fn sha256_file(path: &Path, max: u64) -> Result<(String, u64), String> {
    let mut file = File::open(path).map_err(|e| io_reason(&e))?;
    let mut buffer = vec![0; 256 << 10];
    let mut digest = Sha256::new();
    let mut size = 0_u64;
    loop {
        let read = file.read(&mut buffer).map_err(|e| io_reason(&e))?;
        if read == 0 {
            return Ok((hex(&digest.finalize()), size));
        }
        size += read as u64;
        if size > max {
            return Err(format!("it is larger than {}", crate::diagnostic::units::show_bytes(max)));
        }
        digest.update(&buffer[..read]);
    }
}

/// `sha256:…`; the parts are lower-case hexadecimal digests.
pub fn package<'a>(manifest: &str, script: &str, payloads: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    let mut lines = format!("backout-package-1\nmanifest {manifest}\nscript {script}\n");
    for (name, digest) in payloads.collect::<BTreeMap<_, _>>() {
        let _ = writeln!(lines, "payload {name} {digest}");
    }
    format!("sha256:{}", sha256(lines.as_bytes()))
}
