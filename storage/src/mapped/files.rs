//! What is done to files, call by call. Every function returns only when the medium has it,
//! except [`zero`], which a sync must follow.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::mem::MaybeUninit;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FallocateFlags, FileType, OFlags, RawDir, SeekFrom};
use rustix::io::Errno;

use super::Usage;
use super::mapping::{Found, Handle, Mapping};
use super::places::Places;
use super::sync::Arc;
use crate::chain::UNNAMED;
use crate::seam::{DiskUse, Entry, Fault};

/// Bytes of names that the system tells at once.
const NAMES: usize = 8 * 1024;
/// Zeros written at a time where the file system cannot zero a range itself.
static ZEROS: [u8; 64 * 1024] = [0; 64 * 1024];

pub(super) fn fault(op: &'static str, path: &str, error: &io::Error) -> Fault {
    let path = path.to_owned();
    match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => Fault::Full { path },
        _ => Fault::Io { op, path, why: error.to_string() },
    }
}

/// The lock file, open; its content is for humans and for Apache.
pub(super) fn lock_file(root: &Path, name: &str, content: &[u8]) -> io::Result<File> {
    fs::create_dir_all(root)?;
    let path = root.join(name);
    let options = OpenOptions::new().read(true).write(true).create(true).truncate(false).clone();
    let file = options.open(path)?;
    file.write_all_at(content, 0)?;
    Ok(file)
}

/// A start lists a directory for each queue: no system call more than need be.
pub(super) fn list(places: &mut Places, dir: &str) -> Result<Vec<Entry>, Fault> {
    let mut listed = || -> io::Result<Vec<Entry>> {
        let at = places.enter(dir)?;
        let (mut entries, mut buffer) = (Vec::new(), [MaybeUninit::uninit(); NAMES]);
        let mut names = RawDir::new(at, &mut buffer);
        while let Some(entry) = names.next() {
            let entry = entry?;
            // A name that is not UTF-8 is nobody's here.
            let Ok(name) = entry.file_name().to_str() else { continue };
            if matches!(name, "." | "..") {
                continue;
            }
            let (mut is_dir, mut len) = (entry.file_type() == FileType::Directory, 0);
            if !is_dir {
                let stat = rustix::fs::statat(at, name, AtFlags::SYMLINK_NOFOLLOW)?;
                // Not every file system says of a name what it is.
                is_dir = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
                len = u64::try_from(stat.st_size).unwrap_or_default();
            }
            let len = if is_dir { 0 } else { len };
            entries.push(Entry { name: name.to_owned(), len, is_dir });
        }
        entries.sort();
        Ok(entries)
    };
    match listed() {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        outcome => outcome.map_err(|error| fault("list", dir, &error)),
    }
}

pub(super) fn read(root: &Path, path: &str) -> Result<Option<Vec<u8>>, Fault> {
    match fs::read(root.join(path)) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(fault("read", path, &error)),
    }
}

pub(super) fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).open(path)
}

/// Opens a file to see what it is, and whether it may be opened.
pub(super) fn find(places: &mut Places, path: &str, usage: Usage) -> Result<(Found, File), Fault> {
    let found = places.open(path, OFlags::RDWR).and_then(|file| {
        let file = File::from(file);
        let found = Found::new(&file, path.to_owned(), usage)?;
        Ok((found, file))
    });
    found.map_err(|error| fault("open", path, &error))
}

/// Under another name until it has its full size: a crash in the middle must not leave a file of
/// a wrong length, since that is refused at the next start.
pub(super) fn allocate(root: &Path, path: &str, len: u64, usage: Usage) -> Result<Mapping, Fault> {
    let (whole, partial) = (root.join(path), root.join(format!("{path}{UNNAMED}")));
    let made = || -> io::Result<File> {
        make_parents(root, &whole)?;
        let options = OpenOptions::new().read(true).write(true).create(true).truncate(true).clone();
        let file = options.open(&partial)?;
        reserve(&file, len)?;
        file.sync_all()?;
        fs::rename(&partial, &whole)?;
        sync_parent(&whole)?;
        Ok(file)
    };
    let mapped = made().and_then(|file| {
        let found = Found::new(&file, path.to_owned(), usage)?;
        Mapping::new(&file, Arc::new(found))
    });
    mapped.map_err(|error| {
        // The blocks are needed by others, and it does not matter if even this fails.
        drop(fs::remove_file(&partial));
        fault("allocate", path, &error)
    })
}

/// Gives the file its blocks: a store to a mapped page without one would be a fatal signal.
fn reserve(file: &File, len: u64) -> io::Result<()> {
    match rustix::fs::fallocate(file, FallocateFlags::empty(), 0, len) {
        Ok(()) => Ok(()),
        Err(Errno::OPNOTSUPP) => write_zeros(file, 0, len),
        Err(errno) => Err(errno.into()),
    }
}

pub(super) fn zero(root: &Path, path: &str, from: u64, to: u64) -> Result<(), Fault> {
    if from == to {
        return Ok(());
    }
    let zeroed = || -> io::Result<()> {
        let file = open(&root.join(path))?;
        match rustix::fs::fallocate(&file, FallocateFlags::ZERO_RANGE, from, to - from) {
            Ok(()) => Ok(()),
            // Nothing else: what the medium failed to do is told, not tried in another way.
            Err(Errno::OPNOTSUPP) => write_zeros(&file, from, to),
            Err(errno) => Err(errno.into()),
        }
    };
    zeroed().map_err(|error| fault("zero", path, &error))
}

/// Is all of a range zero? What was never written need not be read to know that.
pub(super) fn is_zero(file: &File, from: u64, to: u64) -> io::Result<bool> {
    let mut bytes = vec![0; ZEROS.len()];
    let mut at = from;
    while at < to {
        let data = match rustix::fs::seek(file, SeekFrom::Data(at)) {
            Ok(data) => data,
            Err(Errno::NXIO) => return Ok(true),
            // A file system that cannot tell.
            Err(Errno::INVAL | Errno::OPNOTSUPP) => at,
            Err(errno) => return Err(errno.into()),
        };
        at = data;
        let hole = rustix::fs::seek(file, SeekFrom::Hole(at)).unwrap_or(to).min(to);
        while at < hole {
            let len = bytes.len().min(usize::try_from(hole - at).unwrap_or(usize::MAX));
            file.read_exact_at(&mut bytes[..len], at)?;
            if bytes[..len] != ZEROS[..len] {
                return Ok(false);
            }
            at += len as u64;
        }
    }
    Ok(true)
}

fn write_zeros(file: &File, from: u64, to: u64) -> io::Result<()> {
    let mut at = from;
    while at < to {
        let len = (to - at).min(ZEROS.len() as u64);
        file.write_all_at(&ZEROS[..usize::try_from(len).expect("at most a buffer")], at)?;
        at += len;
    }
    Ok(())
}

/// A file that is not mapped is synced as a whole; what nobody was told of yet that failed, is told
/// whoever opens it next (Linux 4.13).
pub(super) fn sync(root: &Path, handle: &Handle, from: u64, to: u64) -> Result<(), Fault> {
    let synced = match handle {
        Handle::Mapped(mapping) => mapping.sync(from, to),
        Handle::Named(found) => open(&root.join(&found.path)).and_then(|file| file.sync_data()),
    };
    synced.map_err(|error| fault("sync", &handle.found().path, &error))
}

pub(super) fn remove(root: &Path, path: &str) -> Result<(), Fault> {
    let path_there = root.join(path);
    // If it is gone already, that may not be durable yet: the directory is synced all the same.
    let outcomes = [fs::remove_file(&path_there), sync_parent(&path_there)];
    let failed = |error: &io::Error| error.kind() != ErrorKind::NotFound;
    let error = outcomes.into_iter().filter_map(Result::err).find(failed);
    error.map_or(Ok(()), |error| Err(fault("remove", path, &error)))
}

/// Where the new name lies on another file system, as of a log that is reached by a link, the file
/// is copied, and has its name only when it is whole.
pub(super) fn rename(root: &Path, path: &str, to: &str) -> Result<(), Fault> {
    let (old, new) = (root.join(path), root.join(to));
    let renamed = || -> io::Result<()> {
        make_parents(root, &new)?;
        match fs::rename(&old, &new) {
            Err(error) if error.kind() == ErrorKind::CrossesDevices => {
                carry_over(&old, &new, &root.join(format!("{to}{UNNAMED}")))?;
            }
            outcome => {
                outcome?;
                sync_parent(&new)?;
            }
        }
        sync_parent(&old)
    };
    renamed().map_err(|error| fault("rename", path, &error))
}

/// Copies a file, whole before it has its name, and deletes it where it was.
fn carry_over(old: &Path, new: &Path, partial: &Path) -> io::Result<()> {
    fs::copy(old, partial)?;
    File::open(partial)?.sync_all()?;
    fs::rename(partial, new)?;
    sync_parent(new)?;
    fs::remove_file(old)
}

/// How full the file system is that holds `dir`, or its nearest parent that exists.
pub(super) fn measure(root: &Path, dir: &str) -> Result<DiskUse, Fault> {
    let wanted = root.join(dir);
    let mut found = Err(Errno::NOENT);
    for place in wanted.ancestors().take_while(|place| place.starts_with(root)) {
        found = rustix::fs::statvfs(place);
        if !matches!(found, Err(Errno::NOENT)) {
            break;
        }
    }
    let stat = found.map_err(|errno| fault("measure", dir, &errno.into()))?;
    let bytes = |blocks: u64| blocks.saturating_mul(stat.f_frsize);
    let used = bytes(stat.f_blocks.saturating_sub(stat.f_bfree));
    Ok(DiskUse { used, total: used.saturating_add(bytes(stat.f_bavail)) })
}

/// The new version takes its place before the old one takes the backup's: at every moment either
/// the file is good or both older versions are still where they were.
pub(super) fn replace(root: &Path, path: &str, bytes: &[u8]) -> Result<(), Fault> {
    let name = |suffix: &str| root.join(format!("{path}{suffix}"));
    let (whole, new, old) = (name(""), name(".new"), name(".old"));
    let replaced = || -> io::Result<()> {
        make_parents(root, &whole)?;
        let mut file = File::create(&new)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        let has_old = keep_old(&whole, &old)?;
        fs::rename(&new, &whole)?;
        if has_old {
            fs::rename(&old, name(".bak"))?;
        }
        sync_parent(&whole)
    };
    replaced().map_err(|error| fault("replace", path, &error))
}

/// A second name for the present version, if there is one.
fn keep_old(whole: &Path, old: &Path) -> io::Result<bool> {
    match fs::remove_file(old) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    match fs::hard_link(whole, old) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        // A file system without hard links.
        Err(_) => fs::copy(whole, old).and_then(|_| File::open(old)?.sync_all()).map(|()| true),
    }
}

/// Makes the directories above `path`, each one durable in its own parent.
fn make_parents(root: &Path, path: &Path) -> io::Result<()> {
    let missing = |dir: &&Path| dir.starts_with(root) && !dir.exists();
    let made: Vec<PathBuf> =
        path.ancestors().skip(1).take_while(missing).map(Path::to_owned).collect();
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    made.iter().try_for_each(|dir| sync_parent(dir))
}

fn sync_parent(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), |parent| File::open(parent)?.sync_all())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_carried_over_is_there_and_nowhere_else() {
        let dir = tempfile::tempdir().expect("a directory");
        let [old, new, partial] = ["old", "new", "new.new"].map(|name| dir.path().join(name));
        fs::write(&old, b"a log").expect("written");
        carry_over(&old, &new, &partial).expect("carried over");
        assert_eq!(fs::read(&new).expect("there"), b"a log");
        assert!(!old.exists() && !partial.exists());
    }
}
