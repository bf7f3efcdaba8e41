//! Small reads of files that are not mapped: one page at a time, kept until another is asked for.
//!
//! A start reads a few units of every queue, next to each other. What is kept is a copy, so whoever
//! is about to change the file has it [forgotten](Peek::forget) first.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use crate::seam::FileId;

/// Bytes read at once.
const PAGE: u64 = 4096;

/// The page that was read last, and its file.
#[derive(Debug, Default)]
pub(super) struct Peek(Option<Page>);

#[derive(Debug)]
struct Page {
    of: FileId,
    file: File,
    start: u64,
    bytes: Vec<u8>,
}

impl Peek {
    /// Copies bytes that lie in the file `of`, which `open` opens.
    pub(super) fn copy(
        &mut self,
        of: FileId,
        open: impl FnOnce() -> io::Result<File>,
        mut at: u64,
        mut into: &mut [u8],
    ) -> io::Result<()> {
        let kept = self.0.take().filter(|page| page.of == of);
        let mut page = match kept {
            Some(page) => page,
            None => Page { of, file: open()?, start: 0, bytes: Vec::new() },
        };
        while !into.is_empty() {
            let bytes = page.from(at)?;
            let len = bytes.len().min(into.len());
            into[..len].copy_from_slice(&bytes[..len]);
            (at, into) = (at + len as u64, &mut into[len..]);
        }
        self.0 = Some(page);
        Ok(())
    }

    /// Keeps a file that was just opened.
    pub(super) fn set(&mut self, of: FileId, file: File) {
        let mut bytes = self.0.take().map_or_else(Vec::new, |page| page.bytes);
        bytes.clear();
        self.0 = Some(Page { of, file, start: 0, bytes });
    }

    /// Is it this file that was read last?
    pub(super) fn is_at(&self, file: FileId) -> bool {
        self.0.as_ref().is_some_and(|page| page.of == file)
    }

    /// Nobody looks into one file after the other any more.
    pub(super) fn end(&mut self) {
        self.0 = None;
    }

    /// The file is about to change, or to go.
    pub(super) fn forget(&mut self, file: FileId) {
        self.0.take_if(|page| page.of == file);
    }
}

impl Page {
    /// The bytes from `at` to the end of its page, or of the file.
    fn from(&mut self, at: u64) -> io::Result<&[u8]> {
        let start = at - at % PAGE;
        if start != self.start || self.bytes.is_empty() {
            self.read(start)?;
        }
        let within = usize::try_from(at - start).expect("within a page");
        self.bytes.get(within..).filter(|bytes| !bytes.is_empty()).ok_or_else(|| {
            io::Error::new(io::ErrorKind::UnexpectedEof, "it is shorter than it was")
        })
    }

    fn read(&mut self, start: u64) -> io::Result<()> {
        self.start = start;
        self.bytes.resize(usize::try_from(PAGE).expect("a page is small"), 0);
        let mut done = 0;
        while done < self.bytes.len() {
            match self.file.read_at(&mut self.bytes[done..], start + done as u64) {
                Ok(0) => break,
                Ok(more) => done += more,
                Err(why) if why.kind() == io::ErrorKind::Interrupted => {}
                Err(why) => return Err(why),
            }
        }
        self.bytes.truncate(done);
        Ok(())
    }
}
