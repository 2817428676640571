//! Which image a container is made from.
use crate::resource::{Failure, process::blocking, service::Image};
use cap_std::{
    ambient_authority,
    fs::{Dir, OpenOptions, OpenOptionsExt},
};
use std::{
    io::{self, Read},
    path::Path,
};

/// For the line that names it.
const MAX_LINE: u64 = 1 << 10;

/// By its digest, as the site or the release says now.
pub async fn named(image: &Image) -> Result<String, Failure> {
    let (tree, root, file) = match image {
        Image::Fixed(digest) => return Ok(digest.clone()),
        Image::Release { tree, root, file } => (tree, root.clone(), file.clone()),
    };
    let place = format!("`{tree}:{}`", file.display());
    let line = blocking(move || line(&root, &file)).await?;
    let line = line.map_err(|e| Failure::invalid(format!("its image cannot be read from {place}: {e}")))?;
    if !Image::is_digest(&line) {
        let message = format!("{place} names no image by its digest");
        return Err(
            Failure::invalid(message).hint("write one line there: `NAME@sha256:…`, or the image's id, `sha256:…`")
        );
    }
    Ok(line)
}

/// A package may have put anything there: nothing leads out of the tree, and nothing is waited for.
fn line(root: &Path, file: &Path) -> io::Result<String> {
    let dir = Dir::open_ambient_dir(root, ambient_authority())?;
    let mut options = OpenOptions::new();
    let flags = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let file = dir.open_with(file, options.read(true).custom_flags(flags))?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is no file"));
    }
    let mut text = String::new();
    file.take(MAX_LINE).read_to_string(&mut text)?;
    Ok(text.trim().to_owned())
}
