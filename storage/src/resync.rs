//! Finding the next record behind bytes that are none.

use crate::chain::Chain;
use crate::position::Physical;
use crate::record::{Crc, Record, Verdict, check};
use crate::seam::Memory;

/// Bytes of a page, for skipping what is zero.
const PAGE: usize = 4096;
/// The first three bytes of the magic of both versions of a record, and where they lie in it.
const MAGIC: [u8; 3] = [0xDA, 0xA3, 0x20];
const MAGIC_AT: usize = 4;

/// The rest of the file at `at`; `None` beyond the last file.
pub(crate) fn rest<'a>(memory: &'a impl Memory, chain: &Chain, at: Physical) -> Option<&'a [u8]> {
    let (file, within) = chain.locate(at.get())?;
    let len = usize::try_from(chain.file_len() - within).expect("a file can be mapped");
    Some(memory.bytes(file, within, len))
}

/// The good record at `at`.
pub(crate) fn good<'a>(
    memory: &'a impl Memory,
    chain: &Chain,
    at: Physical,
    crc: Crc,
) -> Option<Record<'a>> {
    match check(rest(memory, chain, at)?, at, crc) {
        Verdict::Good(record) => Some(record),
        Verdict::Bad(_) | Verdict::Blank { .. } => None,
    }
}

/// Where the first good record behind `at` begins: every position is tried that has a magic. A
/// record names its own position, so one that lies elsewhere is not taken for it.
pub(crate) fn next_good(memory: &impl Memory, chain: &Chain, at: Physical) -> Option<Physical> {
    let mut from = at.plus(1);
    while let Some(bytes) = rest(memory, chain, from) {
        for candidate in candidates(bytes) {
            let at = from.plus(candidate as u64);
            if matches!(check(&bytes[candidate..], at, Crc::Verify), Verdict::Good(_)) {
                return Some(at);
            }
        }
        from = from.plus(bytes.len() as u64);
    }
    None
}

/// Where a record could begin.
fn candidates(bytes: &[u8]) -> impl Iterator<Item = usize> {
    let (mut at, mut looked) = (0, 0);
    std::iter::from_fn(move || {
        while at + MAGIC_AT + MAGIC.len() <= bytes.len() {
            if at >= looked {
                let page = &bytes[at..(at + PAGE).min(bytes.len())];
                if page.len() == PAGE && is_zero(page) {
                    // A record may begin with the zeros of this page's end.
                    at += PAGE - MAGIC_AT;
                    continue;
                }
                looked = at + PAGE;
            }
            at += 1;
            if bytes[at - 1 + MAGIC_AT..].starts_with(&MAGIC) {
                return Some(at - 1);
            }
        }
        None
    })
}

/// Is every byte zero?
pub(crate) fn is_zero(bytes: &[u8]) -> bool {
    bytes.iter().fold(0, |any, byte| any | byte) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_magic_is_found_wherever_it_lies() {
        for at in [0, 1, 4092, 4093, 8188, 8189, 8192, 12_000] {
            let mut bytes = vec![0; 12_288];
            bytes[at + MAGIC_AT..][..3].copy_from_slice(&MAGIC);
            assert_eq!(candidates(&bytes).collect::<Vec<_>>(), [at]);
        }
        assert_eq!(candidates(&[0; 5]).count(), 0);
    }
}
