//! What a machine is.

use hotfire_storage::time::{Mono, Now};

/// A deterministic machine: inputs in, effects out, nothing else.
///
/// `handle` neither blocks nor fails. Effects are pulled until `None`; between any two of them the
/// process may die, and the machine must have been right to be in that state. A driver handles
/// every input that is ready, then polls once: batching falls out of load by itself.
pub trait Machine {
    /// Everything that can happen to it.
    type Input;
    /// Everything it can ask for.
    type Effect;

    /// Tells the machine what happened.
    fn handle(&mut self, now: Now, input: Self::Input);

    /// The next thing to do, or `None` if there is nothing until the next input or deadline.
    #[must_use]
    fn poll(&mut self, now: Now) -> Option<Self::Effect>;

    /// When polling may bring something although nothing was handled. Spurious polls are
    /// harmless. May change after every `handle` and `poll`.
    #[must_use]
    fn deadline(&self) -> Option<Mono>;

    /// Checks what must always hold; panics if it does not. The simulator calls it after every
    /// step, so it may cost O(n).
    fn verify(&self);

    /// Folds all semantic state in, for the check that two runs of a seed are one.
    fn digest(&self, into: &mut Digest);
}

/// A rolling 64-bit digest, the same on every platform. Not cryptographic: it tells two runs
/// apart, not two adversaries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Digest(u64);

impl Digest {
    /// The digest of nothing.
    pub const fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }

    /// Folds a number in.
    pub fn number(&mut self, number: u64) {
        // A multiply-rotate mix (murmur's finaliser constants): one step must reach all bits.
        let mixed = (self.0 ^ number).wrapping_mul(0xff51_afd7_ed55_8ccd);
        self.0 = (mixed ^ (mixed >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53).rotate_left(29);
    }

    /// Folds bytes in, their number included, so that `ab` + `c` differs from `a` + `bc`.
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        let mut chunks = bytes.chunks_exact(8);
        for chunk in &mut chunks {
            let word: [u8; 8] = chunk.try_into().expect("chunks_exact gives 8 bytes");
            self.number(u64::from_le_bytes(word));
        }
        let mut tail = [0; 8];
        tail[..chunks.remainder().len()].copy_from_slice(chunks.remainder());
        self.number(u64::from_le_bytes(tail));
    }

    /// The digest so far.
    pub const fn value(self) -> u64 {
        self.0
    }
}

impl Default for Digest {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_tells_order_and_grouping_apart() {
        let of = |parts: &[&[u8]]| {
            let mut digest = Digest::new();
            for part in parts {
                digest.bytes(part);
            }
            digest.value()
        };
        assert_ne!(of(&[b"ab", b"c"]), of(&[b"a", b"bc"]));
        assert_ne!(of(&[b"a", b"b"]), of(&[b"b", b"a"]));
        assert_eq!(of(&[b"0123456789"]), of(&[b"0123456789"]));
    }
}
