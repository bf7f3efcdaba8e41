//! Text within JSON strings.

/// How many bytes are looked at at once.
pub(crate) const WORD: usize = 16;

/// The first byte from `from` on that does not stand in a JSON string for itself: a quote, a
/// backslash, or a control character; the text's end if there is none.
pub(crate) fn first_special(text: &[u8], from: usize) -> usize {
    let (words, tail) = text.get(from..).unwrap_or_default().as_chunks();
    for (word, at) in words.iter().zip((from..).step_by(WORD)) {
        let len = first_special_of(word);
        if len < WORD {
            return at + len;
        }
    }
    if tail.is_empty() {
        return text.len();
    }
    text.len() - tail.len() + first_special_of(&last_word(tail))
}

/// The same of a word; [`WORD`] if there is none.
// Within a loop the compiler might take it for one of bytes.
#[inline(never)]
pub(crate) fn first_special_of(word: &[u8; WORD]) -> usize {
    let mut marks = [0; WORD];
    for (mark, byte) in marks.iter_mut().zip(word) {
        let is_special = *byte < b' ' || *byte == b'"' || *byte == b'\\';
        *mark = if is_special { 0xFF } else { 0 };
    }
    (u128::from_le_bytes(marks).trailing_zeros() / 8) as usize
}

/// A text that is less than a word, and behind it what does not stand in a string for itself.
#[cold]
#[inline(never)]
pub(crate) fn last_word(text: &[u8]) -> [u8; WORD] {
    let mut word = [0; WORD];
    word.iter_mut().zip(text).for_each(|(to, from)| *to = *from);
    word
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
