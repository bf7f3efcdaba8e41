//! A thread that lists directories before they are asked for.
//!
//! A start with many queues asks for two levels below one directory, in the order of their names,
//! and looks into the files that it finds. Whoever lists the next ones meanwhile saves it half of
//! its time. What is asked for in another order is listed when it is.

use std::cmp::Ordering;
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};

use super::files;
use super::places::{Place, Places};
use crate::seam::{Entry, Fault};

/// With fewer directories below one there is nothing to save.
const MANY: usize = 256;
/// Directories that are listed ahead. Each is open: a process may open a thousand files.
const AHEAD: usize = 64;

/// A directory, open, and what lies in it.
type Listed = (Place, Vec<Entry>);

/// The thread, and what it has listed.
pub(super) struct Walk {
    root: String,
    /// Listed, and not asked for yet.
    next: Option<Listed>,
    listed: Option<Receiver<Listed>>,
    thread: Option<JoinHandle<()>>,
}

impl Walk {
    /// Lists what lies below the entries of `dir`, if they are many.
    pub(super) fn begin(root: &Path, dir: &str, entries: &[Entry]) -> Option<Self> {
        let dirs = entries.iter().filter(|entry| entry.is_dir);
        let dirs: Vec<_> = dirs.map(|entry| format!("{dir}/{}", entry.name)).collect();
        if dirs.len() < MANY {
            return None;
        }
        let (tell, listed) = sync_channel(AHEAD);
        let places = Places::new(root);
        let walk = thread::Builder::new().name("walk".to_owned());
        // Without it a start takes longer, and nothing else.
        let thread = walk.spawn(move || walk_through(places, &dirs, &tell)).ok()?;
        let (listed, thread) = (Some(listed), Some(thread));
        Some(Self { root: format!("{dir}/"), next: None, listed, thread })
    }

    /// What was listed of `dir`, if it was.
    pub(super) fn take(&mut self, dir: &str) -> Option<Listed> {
        if !dir.starts_with(&self.root) {
            return None;
        }
        loop {
            let next = self.next.take();
            let next = next.or_else(|| self.listed.as_ref()?.recv().ok())?;
            match next.0.path().split('/').cmp(dir.split('/')) {
                Ordering::Less => {}
                Ordering::Equal => return Some(next),
                Ordering::Greater => {
                    self.next = Some(next);
                    return None;
                }
            }
        }
    }
}

impl Drop for Walk {
    fn drop(&mut self) {
        // It stops when nobody listens.
        self.listed = None;
        if let Some(thread) = self.thread.take() {
            // A panic over there was already printed.
            drop(thread.join());
        }
    }
}

/// Lists each directory, and each one in it. What fails to be listed is left out: whoever asks for
/// it will be told.
fn walk_through(mut places: Places, dirs: &[String], tell: &SyncSender<Listed>) {
    for dir in dirs {
        let Ok(entries) = list(&mut places, dir, tell) else { return };
        for entry in entries.iter().filter(|entry| entry.is_dir) {
            if list(&mut places, &format!("{dir}/{}", entry.name), tell).is_err() {
                return;
            }
        }
    }
}

/// `Err`: nobody listens.
fn list(places: &mut Places, dir: &str, tell: &SyncSender<Listed>) -> Result<Vec<Entry>, ()> {
    let listed: Result<Vec<Entry>, Fault> = files::list(places, dir);
    let (Ok(entries), Some(place)) = (listed, places.share()) else { return Ok(Vec::new()) };
    tell.send((place, entries.clone())).map_err(drop)?;
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(entries: &[Entry]) -> Vec<&str> {
        entries.iter().map(|entry| entry.name.as_str()).collect()
    }

    #[test]
    fn what_is_asked_for_in_its_order_was_listed_and_the_rest_is_left_to_others() {
        let root = tempfile::tempdir().expect("a directory");
        for topic in 0..300 {
            for queue in ["0", "1", "10"] {
                let dir = root.path().join(format!("q/t{topic:03}/{queue}"));
                std::fs::create_dir_all(&dir).expect("made");
                std::fs::write(dir.join("file"), "x").expect("written");
            }
        }
        let list = |dir: &str| files::list(&mut Places::new(root.path()), dir).expect("listed");
        let topics = list("q");
        assert!(Walk::begin(root.path(), "q", &topics[..MANY - 1]).is_none(), "too few");
        let mut walk = Walk::begin(root.path(), "q", &topics).expect("enough");
        for topic in ["q/t000", "q/t001", "q/t007"] {
            let (place, entries) = walk.take(topic).expect("listed");
            assert_eq!((place.path(), names(&entries)), (topic, vec!["0", "1", "10"]));
            assert!(walk.take("other/t000").is_none());
            for queue in ["1", "10"] {
                let (_, entries) = walk.take(&format!("{topic}/{queue}")).expect("listed");
                assert_eq!((names(&entries), entries[0].len), (vec!["file"], 1));
            }
        }
        assert!(walk.take("q/t003").is_none(), "it was passed by");
        assert!(walk.take("q/t008/2").is_none(), "there is none");
        assert!(walk.take("q/t008/2").is_none() && walk.take("q/t009").is_some());
        assert!(walk.take("q/t300").is_none(), "the end");
        assert!(walk.take("q/t299").is_none());
        // Dropped while there is more to list, it stops.
        drop(Walk::begin(root.path(), "q", &topics));
    }
}
