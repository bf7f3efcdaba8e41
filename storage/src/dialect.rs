//! The JSON dialect of Apache's processes (wire.md 6, store.md 3), made strict.
//!
//! | dialect | strict |
//! |---|---|
//! | `{1:6,brokerId:0}` | `{"1":6,"brokerId":0}` |
//! | `{'a':'it"s'}` | `{"a":"it\"s"}` |
//! | `[1,2,]` | `[1,2]` |
//! | `{{"topic":"T","queueId":0}:7}` | `{"{\"topic\":\"T\",\"queueId\":0}":7}` |
//!
//! Linear in time and space, bounded in depth, and never a panic whatever a peer sends. Numbers
//! and words are passed on as they are: the strict parser behind judges them.

use std::borrow::Cow;

/// How deep values may nest.
pub const DEPTH_MAX: usize = 100;

/// Why a text is not even the dialect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DialectError {
    /// A text of nothing, or one that ends in the middle.
    #[error("the text ends early")]
    Early,
    /// An object key within an object key: escaping would double with each.
    #[error("an object as key within an object as key, at byte {at}")]
    KeyInKey {
        /// Where.
        at: usize,
    },
    /// Values nest deeper than [`DEPTH_MAX`].
    #[error("nested deeper than {DEPTH_MAX}, at byte {at}")]
    TooDeep {
        /// Where.
        at: usize,
    },
    /// A byte that cannot stand where it does.
    #[error("unexpected byte {byte:#04x} at {at}")]
    Unexpected {
        /// Where.
        at: usize,
        /// What.
        byte: u8,
    },
}

/// Turns the dialect into strict JSON. What is strict already is passed through unchanged.
pub fn to_strict(text: &[u8]) -> Result<Cow<'_, [u8]>, DialectError> {
    let mut scan = Scan { text, at: 0, out: Vec::with_capacity(text.len() + 16), in_key: false };
    scan.space();
    scan.value(0)?;
    scan.space();
    if let Some(byte) = scan.peek() {
        return Err(DialectError::Unexpected { at: scan.at, byte });
    }
    Ok(if scan.out == text { Cow::Borrowed(text) } else { Cow::Owned(scan.out) })
}

struct Scan<'a> {
    text: &'a [u8],
    at: usize,
    out: Vec<u8>,
    /// Within an object that is a key.
    in_key: bool,
}

impl Scan<'_> {
    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    /// The next byte, which must be there.
    fn need(&self) -> Result<u8, DialectError> {
        self.peek().ok_or(DialectError::Early)
    }

    fn unexpected(&self, byte: u8) -> DialectError {
        DialectError::Unexpected { at: self.at, byte }
    }

    /// Copies one byte that was peeked at.
    fn copy(&mut self, byte: u8) {
        self.out.push(byte);
        self.at += 1;
    }

    fn space(&mut self) {
        while let Some(byte @ (b' ' | b'\t' | b'\r' | b'\n')) = self.peek() {
            self.copy(byte);
        }
    }

    fn value(&mut self, depth: usize) -> Result<(), DialectError> {
        if depth > DEPTH_MAX {
            return Err(DialectError::TooDeep { at: self.at });
        }
        match self.need()? {
            b'{' => self.list(b'{', b'}', depth),
            b'[' => self.list(b'[', b']', depth),
            quote @ (b'"' | b'\'') => self.string(quote),
            byte if is_word(byte) || byte == b'+' => {
                while let Some(byte) = self.peek().filter(|b| is_word(*b) || *b == b'+') {
                    self.copy(byte);
                }
                Ok(())
            }
            byte => Err(self.unexpected(byte)),
        }
    }

    /// An object or an array, from its opening to its closing bracket.
    fn list(&mut self, open: u8, close: u8, depth: usize) -> Result<(), DialectError> {
        self.copy(open);
        self.space();
        if self.need()? == close {
            self.copy(close);
            return Ok(());
        }
        loop {
            if open == b'{' {
                self.key(depth)?;
                self.space();
                match self.need()? {
                    b':' => self.copy(b':'),
                    byte => return Err(self.unexpected(byte)),
                }
                self.space();
            }
            self.value(depth + 1)?;
            self.space();
            match self.need()? {
                b',' => {
                    let comma = self.out.len();
                    self.copy(b',');
                    self.space();
                    if self.need()? == close {
                        // Only white space lies behind the comma that is taken back.
                        self.out.remove(comma);
                        self.copy(close);
                        return Ok(());
                    }
                }
                byte if byte == close => {
                    self.copy(close);
                    return Ok(());
                }
                byte => return Err(self.unexpected(byte)),
            }
        }
    }

    fn key(&mut self, depth: usize) -> Result<(), DialectError> {
        match self.need()? {
            quote @ (b'"' | b'\'') => self.string(quote),
            b'{' | b'[' if self.in_key => Err(DialectError::KeyInKey { at: self.at }),
            b'{' | b'[' => {
                let outer = std::mem::take(&mut self.out);
                self.in_key = true;
                let inner = self.value(depth + 1);
                self.in_key = false;
                let key = std::mem::replace(&mut self.out, outer);
                inner?;
                self.out.push(b'"');
                for byte in key {
                    self.escaped(byte);
                }
                self.out.push(b'"');
                Ok(())
            }
            byte if is_word(byte) => {
                self.out.push(b'"');
                while let Some(byte) = self.peek().filter(|byte| is_word(*byte)) {
                    self.copy(byte);
                }
                self.out.push(b'"');
                Ok(())
            }
            byte => Err(self.unexpected(byte)),
        }
    }

    fn string(&mut self, quote: u8) -> Result<(), DialectError> {
        self.at += 1;
        self.out.push(b'"');
        loop {
            let byte = self.need()?;
            match byte {
                b'\\' => {
                    self.at += 1;
                    let escape = self.need()?;
                    // Strict JSON knows no escaped single quote.
                    if escape != b'\'' {
                        self.out.push(b'\\');
                    }
                    self.copy(escape);
                }
                byte if byte == quote => {
                    self.at += 1;
                    self.out.push(b'"');
                    return Ok(());
                }
                byte if byte == b'"' || byte < b' ' => {
                    self.escaped(byte);
                    self.at += 1;
                }
                byte => self.copy(byte),
            }
        }
    }

    /// One byte of a string's content.
    fn escaped(&mut self, byte: u8) {
        const HEX: &[u8; 16] = b"0123456789abcdef";
        match byte {
            b'"' | b'\\' => self.out.extend([b'\\', byte]),
            0..b' ' => {
                self.out.extend(b"\\u00");
                self.out.extend([HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
            }
            _ => self.out.push(byte),
        }
    }
}

/// May `byte` stand in a number, a literal or a name without quotes?
fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$' | b'.' | b'-') || byte >= 0x80
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn strict(text: &str) -> String {
        let strict = to_strict(text.as_bytes()).expect("the dialect");
        String::from_utf8(strict.into_owned()).expect("UTF-8")
    }

    #[test]
    fn the_dialect_becomes_strict() {
        let known = [
            ("{1:6,-2:3,brokerId : 0}", r#"{"1":6,"-2":3,"brokerId" : 0}"#),
            (r#"{'a':'it"s','b':'it\'s'}"#, r#"{"a":"it\"s","b":"it's"}"#),
            ("[1,2, ]", "[1,2 ]"),
            ("{\"a\":{},}", "{\"a\":{}}"),
            (r#"{{"t":"T","q":0}:{1:2}}"#, r#"{"{\"t\":\"T\",\"q\":0}":{"1":2}}"#),
            ("\"a\tb\"", r#""a\u0009b""#),
        ];
        for (dialect, expected) in known {
            assert_eq!(strict(dialect), expected);
            serde_json::from_str::<serde_json::Value>(expected).expect("strict JSON");
        }
    }

    #[test]
    fn strict_text_is_not_copied() {
        let text = br#" {"a":[1,-2.5e+3,true,null,"x\\\"\u0041"],"b":{}} "#;
        assert!(matches!(to_strict(text), Ok(Cow::Borrowed(_))));
    }

    #[test]
    fn nonsense_is_refused_where_it_stands() {
        let refused = ["", "{", "[1", "\"a", "{1}", "{:1}", "[,]", "{}}", "[1 2]", "{{{}:1}:2}"];
        for text in refused {
            assert!(to_strict(text.as_bytes()).is_err(), "{text}");
        }
        let deep = "[".repeat(1_000_000);
        let error = to_strict(deep.as_bytes()).expect_err("too deep");
        assert_eq!(error, DialectError::TooDeep { at: DEPTH_MAX + 1 });
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic(text in proptest::collection::vec(any::<u8>(), 0..200)) {
            drop(to_strict(&text));
        }

        #[test]
        fn nothing_of_its_own_alphabet_makes_it_panic(text in "[\\[\\]{}:,'\"\\\\ a1.-]{0,60}") {
            if let Ok(once) = to_strict(text.as_bytes()) {
                let twice = to_strict(&once).expect("strict text stays strict");
                prop_assert_eq!(&once, &twice);
            }
        }
    }
}
