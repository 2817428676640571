//! What a running container has mounted of the host. A mount holds on to a folder, whatever takes its name later.
use bollard::models::MountPoint;
use std::{fs, os::unix::fs::MetadataExt, path::Path};

/// Whether the container sees a place of the host as it was before it was exchanged. What cannot be looked at is not told.
pub fn stale(pid: i32, mounts: &[MountPoint]) -> bool {
    let identity = |path: &Path| fs::metadata(path).ok().map(|about| (about.dev(), about.ino()));
    mounts.iter().filter(|mount| mount.typ.as_ref().is_some_and(|typ| typ.as_str() == "bind")).any(|mount| {
        let (Some(source), Some(inside)) = (&mount.source, &mount.destination) else { return false };
        let inside = Path::new("/proc").join(pid.to_string()).join("root").join(inside.trim_start_matches('/'));
        identity(&inside).is_some_and(|seen| identity(Path::new(source)) != Some(seen))
    })
}
