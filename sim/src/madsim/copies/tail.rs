//! Reads a log as it grows: the files as processes see them, by nobody's code but ours.

use std::collections::BTreeMap;

use super::super::disks::Berth;
use crate::workload::message::{Found, parse};

/// A log, and how far it has been read.
pub(super) struct Tail {
    berth: Berth,
    file_len: u64,
    /// Where the next record begins; `None`: nothing has been read.
    at: Option<u64>,
    /// Changes of the log that were read.
    read: u64,
}

impl Tail {
    pub(super) fn new(berth: Berth, file_len: u64) -> Self {
        Self { berth, file_len, at: None, read: u64::MAX }
    }

    /// Where the log ends, as far as it has been read.
    pub(super) fn end(&self) -> u64 {
        self.at.unwrap_or_default()
    }

    /// Reads it again, from its beginning.
    pub(super) fn rewind(&mut self) {
        (self.at, self.read) = (None, u64::MAX);
    }

    /// The records that are new, and where each begins.
    pub(super) fn news(&mut self) -> Vec<(u64, Vec<u8>)> {
        let changes = self.berth.changes();
        if self.read == changes {
            return Vec::new();
        }
        self.read = changes;
        let start = self.start();
        let (mut at, mut records) = (self.at.unwrap_or_default().max(start), Vec::new());
        while let Some((file, bytes)) = self.file(at) {
            let (to, is_full) = self.read_file(file, &bytes, at, &mut records);
            at = to;
            if !is_full {
                break;
            }
        }
        self.at = Some(at);
        records
    }

    /// The record that begins here.
    pub(super) fn record(&self, at: u64) -> Option<Vec<u8>> {
        let (file, bytes) = self.file(at)?;
        let within = usize::try_from(at - file).ok()?;
        match parse(&bytes[within..]) {
            Found::Record(record) if record.at == at => Some(record.bytes.to_vec()),
            _ => None,
        }
    }

    /// Is all that lies between the two, as far as it is there, on the medium?
    pub(super) fn is_durable(&self, from: u64, to: u64) -> bool {
        let mut at = from;
        while at < to {
            let end = to.min(at / self.file_len * self.file_len + self.file_len);
            let len = usize::try_from(end - at).expect("a file is short");
            if let Some((file, bytes)) = self.file(at) {
                let within = usize::try_from(at - file).expect("a file is short");
                let path = format!("commitlog/{file:020}");
                let durable = self.berth.medium().durable_part(&path, at - file, len);
                if durable.as_deref() != Some(&bytes[within..within + len]) {
                    return false;
                }
            }
            at = end;
        }
        true
    }

    /// All records.
    pub(super) fn all(&self) -> BTreeMap<u64, Vec<u8>> {
        Self::new(self.berth.clone(), self.file_len).news().into_iter().collect()
    }

    /// The first byte of the log's first file: of those that lie one behind the other, for of a log
    /// that is begun anew one or the other may still be there.
    pub(super) fn start(&self) -> u64 {
        let files = self.berth.medium().log_files();
        let mut files = files.into_iter().rev();
        let mut start = files.next().unwrap_or_default();
        for before in files {
            if before + self.file_len != start {
                break;
            }
            start = before;
        }
        start
    }

    /// The file that holds byte `at`, and where it begins.
    pub(super) fn file(&self, at: u64) -> Option<(u64, Vec<u8>)> {
        let start = at / self.file_len * self.file_len;
        Some((start, self.berth.log_file(start)?))
    }

    /// Reads the rest of a file from `at` on. Where is its end, and is the file full?
    fn read_file(
        &self,
        file: u64,
        bytes: &[u8],
        mut at: u64,
        records: &mut Vec<(u64, Vec<u8>)>,
    ) -> (u64, bool) {
        let end = file + self.file_len;
        while at < end {
            let within = usize::try_from(at - file).expect("a file is short");
            match parse(bytes.get(within..).unwrap_or_default()) {
                Found::Blank => return (end, true),
                Found::Record(record) if record.at == at => {
                    records.push((at, record.bytes.to_vec()));
                    at += u64::from(record.size);
                }
                Found::Record(_) | Found::Nothing => return (at, false),
            }
        }
        (end, true)
    }
}
