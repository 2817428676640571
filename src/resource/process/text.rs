//! What of this program's file is in memory. A process that waits needs next to nothing of it.
use procfs::process::{MMPermissions, MMapPath, MemoryMap, Process};
use rustix::mm::{Advice, madvise};
use std::path::Path;

/// Gives the program's text and constants back to the kernel. They stay in its file cache while nobody else needs the room, and
/// come back page by page when they are used: a watch may take an hour, on a machine whose memory is the product's.
pub fn give_back() {
    let found = Process::myself().and_then(|process| Ok((process.exe()?, process.smaps()?)));
    // Without it the process is merely larger.
    let Ok((program, maps)) = found else { return };
    maps.iter().filter(|map| is_as_in_the_file(map, &program)).for_each(forget);
}

/// Nobody can write there, and nobody has: no page of it is this process's own, as those are that the linker has relocated or
/// a debugger has put a breakpoint into.
fn is_as_in_the_file(map: &MemoryMap, program: &Path) -> bool {
    matches!(&map.pathname, MMapPath::Path(path) if path == program)
        && !map.perms.intersects(MMPermissions::WRITE | MMPermissions::SHARED)
        && map.extension.map.get("Anonymous") == Some(&0)
}

#[expect(unsafe_code, reason = "the kernel takes advice by address only")]
fn forget(map: &MemoryMap) {
    let (from, to) = map.address;
    let Ok(length) = usize::try_from(to.saturating_sub(from)) else { return };
    // SAFETY: it is mapped from a file and as it is there, so what is read next is what was read before. It stays mapped.
    let _ = unsafe { madvise(from as *mut _, length, Advice::LinuxDontNeed) };
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs::File, os::unix::fs::FileExt};

    fn parts() -> Vec<MemoryMap> {
        let process = Process::myself().unwrap();
        let (program, maps) = (process.exe().unwrap(), process.smaps().unwrap());
        maps.into_iter().filter(|map| is_as_in_the_file(map, &program)).collect()
    }

    fn resident() -> u64 {
        parts().iter().map(|map| map.extension.map["Rss"]).sum()
    }

    #[test]
    fn what_was_given_back_is_no_longer_resident_and_still_runs() {
        let memory = File::open("/proc/self/mem").unwrap();
        for (from, to) in parts().iter().map(|map| map.address) {
            memory.read_exact_at(&mut vec![0; (to - from) as usize], from).unwrap();
        }
        let before = resident();
        give_back();
        let after = resident();
        assert!(after < before / 2, "{before} bytes were resident before, {after} are now");
    }
}
