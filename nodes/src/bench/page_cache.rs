//! A page cache without room.
//!
//! A machine that has run for a while has no free memory: what is written takes the place of what
//! was written before. On one that was just started, or a virtual one that gives back what it does
//! not use, each new page has to be found first, by the kernel or by the host. That can cost more
//! than all that a broker does, and says nothing about it.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use crate::Failure;

/// Written at once, in bytes.
const CHUNK: usize = 1 << 20;
/// What stays free, in KiB: enough for what the kernel itself keeps so.
const LEFT_KIB: u64 = 256 << 10;

/// A file that fills it; removed when dropped.
pub struct Filled(PathBuf);

impl Filled {
    /// Writes a file in `dir` that is as large as the memory that is free, and syncs it.
    pub fn new(dir: &Path) -> Result<Self, Failure> {
        let free = free_kib()?.saturating_sub(LEFT_KIB);
        let filled = Self(dir.join("page-cache"));
        filled.write(free * 1024).map_err(|why| {
            Failure::new(format!("{}: {free} KiB of free memory: {why}", filled.0.display()))
        })?;
        Ok(filled)
    }

    fn write(&self, bytes: u64) -> std::io::Result<()> {
        let (mut file, chunk) = (File::create(&self.0)?, vec![0; CHUNK]);
        for _ in 0..bytes / CHUNK as u64 {
            file.write_all(&chunk)?;
        }
        file.sync_all()
    }
}

impl Drop for Filled {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

fn free_kib() -> Result<u64, Failure> {
    let known = fs::read_to_string("/proc/meminfo").map_err(Failure::new)?;
    let line = known.lines().find_map(|line| line.strip_prefix("MemFree:"));
    let number = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    number.ok_or_else(|| Failure::new("/proc/meminfo does not say what memory is free"))
}
