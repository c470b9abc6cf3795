//! The room on the disk of the server's store. A server that met a full disk acknowledges nothing more for the streams
//! that it could not write, also when there is room again: it has to be started anew.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

/// How often it is looked at.
pub(super) const LOOK: Duration = Duration::from_secs(1);
/// Below so many bytes the disk counts as full.
const FULL: u64 = 1024 * 1024;
/// From so many bytes on there is room again.
const ROOM: u64 = 16 * 1024 * 1024;

/// What is known of the disk.
#[derive(Debug)]
pub(super) struct Room {
    store: PathBuf,
    was_full: bool,
}

impl Room {
    /// The disk of that store.
    pub(super) fn of(store: &Path) -> Self {
        Self { store: store.to_owned(), was_full: false }
    }

    /// Looks at the disk, and says whether there is room again since it was full.
    pub(super) fn is_back(&mut self) -> bool {
        // A disk that cannot be asked has said nothing.
        let asked = rustix::fs::statvfs(&self.store);
        asked.is_ok_and(|room| self.note(room.f_bavail.saturating_mul(room.f_frsize)))
    }

    fn note(&mut self, free: u64) -> bool {
        match (self.was_full, free) {
            (false, ..FULL) => {
                tracing::error!("the disk of the bus is full: what is written there is not acknowledged");
                self.was_full = true;
                false
            }
            (true, ROOM..) => {
                self.was_full = false;
                true
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flt_14_room_is_back_once_after_the_disk_was_full() {
        let mut room = Room::of(Path::new("/nowhere"));
        assert!(!room.is_back(), "a disk that is not there");
        assert!(!room.note(ROOM), "it never was full");
        assert!(!room.note(FULL - 1) && !room.note(0));
        assert!(!room.note(ROOM - 1), "too little to begin anew");
        assert!(room.note(ROOM));
        assert!(!room.note(ROOM), "told once");
    }
}
