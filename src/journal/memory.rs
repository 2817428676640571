//! The journal of a simulated run: nothing of it is ever on a disk.
use super::{Entry, Place, Recorded};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

#[derive(Default)]
pub struct Kept(Mutex<Vec<Arc<Recorded>>>);

impl Kept {
    fn entries(&self) -> MutexGuard<'_, Vec<Arc<Recorded>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn keep(&self, mut entry: Recorded) {
        let mut entries = self.entries();
        entry.id = i64::try_from(entries.len()).unwrap_or(i64::MAX).saturating_add(1);
        entries.push(Arc::new(entry));
    }

    pub fn all(&self) -> Vec<Arc<Recorded>> {
        self.entries().clone()
    }

    /// These are the entries now.
    pub fn go_back(&self, entries: Vec<Arc<Recorded>>) {
        *self.entries() = entries;
    }

    pub fn begun(&self, place: &Place, seq: u32) -> i64 {
        let entries = self.entries();
        let begun = entries.iter().find(|e| e.place == *place && e.seq == seq && matches!(e.entry, Entry::Intent(_)));
        begun.map_or(0, |begun| begun.id)
    }
}
