//! What a slave gives up of its log is kept aside, by the bytes of its medium.

use std::collections::BTreeMap;

use hotfire_storage::{PARTINGS_KEPT, Parting};

use crate::disk::Medium;
use crate::ring::Violation;

/// A log before it is parted: its files, by where they begin.
pub(crate) struct Before(BTreeMap<u64, Vec<u8>>);

impl Before {
    /// Nobody has the disk.
    pub(crate) fn of(medium: &Medium) -> Self {
        let log = |(path, bytes): (String, Vec<u8>)| {
            Some((path.strip_prefix("commitlog/")?.parse().ok()?, bytes))
        };
        Self(medium.seen().into_iter().filter_map(log).collect())
    }

    /// It was parted: every byte that is not in it any more is on the medium, elsewhere.
    pub(crate) fn check(&self, medium: &Medium, at: Parting) -> Result<(), Violation> {
        let durable = medium.durable();
        let names = durable.iter().filter_map(|(path, bytes)| {
            let (number, start) = path.strip_prefix("diverged/")?.split_once('-')?;
            Some((number, start.split('.').next()?, bytes))
        });
        let mut numbers: Vec<&str> = names.clone().map(|(number, ..)| number).collect();
        numbers.sort_unstable();
        numbers.dedup();
        if numbers.len() > PARTINGS_KEPT {
            return Err(Violation::new("what is given up is kept", format!("{numbers:?}")));
        }
        let aside: Vec<(u64, &Vec<u8>)> =
            names.filter_map(|(_, start, bytes)| Some((start.parse().ok()?, bytes))).collect();
        let end = match at {
            Parting::Cut(end) => end.get(),
            Parting::Begin(_) => 0,
        };
        let is_kept = |at: u64, byte: u8| {
            aside.iter().any(|(start, bytes)| {
                let within = at.checked_sub(*start).and_then(|within| usize::try_from(within).ok());
                within.and_then(|within| bytes.get(within)) == Some(&byte)
            })
        };
        for (start, bytes) in &self.0 {
            let given_up = (*start..).zip(bytes).filter(|(at, byte)| *at >= end && **byte != 0);
            if let Some((lost, _)) = given_up.into_iter().find(|(at, byte)| !is_kept(*at, **byte)) {
                let detail = format!("{at:?}: byte {lost} of the log is nowhere any more");
                return Err(Violation::new("what is given up is kept", detail));
            }
        }
        Ok(())
    }
}
