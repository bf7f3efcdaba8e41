//! Text within JSON strings.

/// The first byte from `from` on that does not stand in a JSON string for itself: a quote, a
/// backslash, or a control character; the text's end if there is none. Looks at eight at a time.
pub(crate) fn first_special(text: &[u8], from: usize) -> usize {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    const HIGH: u64 = ONES << 7;
    let rest = text.get(from..).unwrap_or_default();
    let (words, tail) = rest.as_chunks::<8>();
    for (word, at) in words.iter().zip((from..).step_by(8)) {
        let word = u64::from_le_bytes(*word);
        // The highest bit of each byte that is zero; of bytes above the first such one, perhaps.
        let zero = |bytes: u64| bytes.wrapping_sub(ONES) & !bytes;
        let below = |bound: u8| word.wrapping_sub(ONES * u64::from(bound)) & !word;
        let is = |byte: u8| zero(word ^ (ONES * u64::from(byte)));
        let special = (is(b'"') | is(b'\\') | below(b' ')) & HIGH;
        if special != 0 {
            return at + (special.trailing_zeros() / 8) as usize;
        }
    }
    let found = tail.iter().position(|byte| *byte < b' ' || matches!(byte, b'"' | b'\\'));
    found.map_or(text.len(), |at| text.len() - tail.len() + at)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_first_special_byte_is_the_first(
            text in "[a-z!-~\u{80}-\u{ff}\u{1f}\u{20}\"\\\\]{0,40}",
            from in 0..50_usize,
        ) {
            let bytes = text.as_bytes();
            let is_special = |byte: &u8| *byte < 0x20 || *byte == b'"' || *byte == b'\\';
            let wanted = bytes.iter().skip(from).position(is_special);
            let wanted = wanted.map_or(bytes.len(), |at| from + at);
            prop_assert_eq!(first_special(bytes, from), wanted);
        }
    }
}
