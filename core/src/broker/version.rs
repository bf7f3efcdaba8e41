//! The version of a kept table: changes are numbered, and saved by one save at a time.

use hotfire_storage::time::Wall;

use crate::domain::DataVersion;

/// Where a table is, and where its file is.
#[derive(Debug)]
pub(super) struct Version {
    now: DataVersion,
    saved: i64,
    saving: Option<i64>,
}

impl Version {
    /// Of a table as it was read from its file.
    pub(super) fn restored(now: DataVersion) -> Self {
        Self { now, saved: now.counter, saving: None }
    }

    /// The version of what the table holds.
    pub(super) fn now(&self) -> DataVersion {
        self.now
    }

    /// The table changes; the number of the change.
    pub(super) fn change(&mut self, wall: Wall) -> i64 {
        self.now.advance(wall);
        self.now.counter
    }

    /// The table is to become one of this version. Is it another one?
    pub(super) fn follow(&mut self, version: DataVersion) -> bool {
        let is_news = self.now != version;
        if is_news {
            self.now = version;
            // Saved whatever the numbers say: they are another broker's. What is being saved is not
            // this, either.
            let before = version.counter.saturating_sub(1);
            self.saved = self.saved.min(before);
            self.saving = self.saving.map(|saving| saving.min(before));
        }
        is_news
    }

    /// The newest change that a power loss cannot take away.
    pub(super) fn durable_upto(&self) -> i64 {
        self.saved
    }

    /// Is a save under way?
    pub(super) fn is_saving(&self) -> bool {
        self.saving.is_some()
    }

    /// Is there a change to save, and no save under way?
    pub(super) fn wants_save(&self) -> bool {
        !self.is_saving() && self.saved < self.now.counter
    }

    /// The same; asking starts it: the caller saves now.
    pub(super) fn start_save(&mut self) -> bool {
        let due = self.wants_save();
        if due {
            self.saving = Some(self.now.counter);
        }
        due
    }

    /// The save ended.
    pub(super) fn save_ended(&mut self, durable: bool) {
        let upto = self.saving.take().expect("only a started save ends");
        if durable {
            self.saved = upto;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_being_saved_is_not_what_came_from_another_broker() {
        let of = |counter| DataVersion { counter, ..DataVersion::default() };
        let mut version = Version::restored(of(7));
        version.change(Wall::from_millis(1));
        assert!(version.start_save());
        assert!(version.follow(of(3)));
        version.save_ended(true);
        assert!(version.start_save(), "its numbers say that it is saved");
        version.save_ended(true);
        assert!(!version.wants_save());
    }
}
