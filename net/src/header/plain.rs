//! The JSON form as clients write it: whole numbers and strings, no space between them. It is most
//! of what there is to do for a small message, so it is read in one walk, a word a step; whatever
//! else is JSON, and whatever is broken, is left to the tolerant reader, and both read the same of
//! what both can read.

use hotfire_core::domain::{Language, Text};

use super::{BETWEEN, Ends, FIELDS_EXPECTED, Fields, Header, TEXT_EXPECTED, language_known};
use crate::json_text::{WORD, first_special, first_special_of, last_word};

/// The header, if `bytes` are such a one.
pub(super) fn decode(bytes: &[u8]) -> Option<Header> {
    let mut scan = Scan { rest: bytes };
    let mut header = Header::unsaid();
    scan.eat(b"{")?;
    loop {
        scan.member(&mut header)?;
        if scan.ends()? {
            return scan.rest.is_empty().then_some(header);
        }
    }
}

/// The request that is answered, if `bytes` are such an answer, and one of success.
pub(super) fn answers_well(bytes: &[u8]) -> Option<i32> {
    let mut scan = Scan { rest: bytes };
    scan.eat(b"{\"code\":0,")?;
    // A brace within a string of the ext fields has no quote behind its comma.
    let (_, fields) = bytes.split_last()?;
    scan.rest = &bytes[memchr::memrchr(b'}', fields)?..];
    scan.eat(b"},\"flag\":1,\"language\":")?;
    scan.language()?;
    scan.eat(b",\"opaque\":")?;
    let opaque = scan.number()?;
    scan.eat(b",\"serializeTypeCurrentRPC\":\"JSON\",\"version\":")?;
    scan.number()?;
    (scan.rest == b"}").then_some(opaque)
}

/// What is still to be read.
struct Scan<'a> {
    rest: &'a [u8],
}

impl Scan<'_> {
    fn eat<const N: usize>(&mut self, what: &[u8; N]) -> Option<()> {
        let (next, rest) = self.rest.split_first_chunk()?;
        (next == what).then(|| self.rest = rest)
    }

    /// Behind a value: does the object end (`true`), or go on?
    fn ends(&mut self) -> Option<bool> {
        let (byte, rest) = self.rest.split_first()?;
        self.rest = rest;
        match byte {
            b',' => Some(false),
            b'}' => Some(true),
            _ => None,
        }
    }

    /// A key and its value. No two keys that we know begin alike.
    fn member(&mut self, header: &mut Header) -> Option<()> {
        match self.rest.get(1)? {
            b'c' => {
                self.eat(b"\"code\":")?;
                header.code = self.number()?;
            }
            // Room is made for each once: for many of them it would be more than they are.
            b'e' if header.fields.ends.is_empty() => {
                self.eat(b"\"extFields\":{")?;
                header.fields = self.fields()?;
            }
            b'f' => {
                self.eat(b"\"flag\":")?;
                header.flag = self.number()?;
            }
            b'l' => {
                self.eat(b"\"language\":")?;
                header.language = self.language()?;
            }
            b'o' => {
                self.eat(b"\"opaque\":")?;
                header.opaque = self.number()?;
            }
            b'r' if header.remark.is_none() => {
                self.eat(b"\"remark\":\"")?;
                header.remark = Some(self.remark()?);
            }
            b's' => self.eat(b"\"serializeTypeCurrentRPC\":\"JSON\"")?,
            b'v' => {
                self.eat(b"\"version\":")?;
                header.version = self.number()?;
            }
            _ => return None,
        }
        Some(())
    }

    fn language(&mut self) -> Option<Language> {
        self.eat(b"\"")?;
        let (name, rest) = self.rest.split_at_checked(first_special(self.rest, 0))?;
        self.rest = rest;
        self.eat(b"\"")?;
        language_known(name)
    }

    #[inline(never)]
    fn remark(&mut self) -> Option<Text> {
        let mut remark = Unescaped::with_room_for(self.rest);
        self.string(&mut remark)?;
        remark.len -= 1;
        remark.finish()
    }

    /// What stands in a string behind its first quote, and the quote that ends it.
    #[expect(clippy::inline_always, reason = "a dozen times a message, and a tenth of its header")]
    #[inline(always)]
    fn string(&mut self, into: &mut Unescaped) -> Option<()> {
        loop {
            match self.run(into)? {
                // Copied already, as the byte behind the run.
                BETWEEN => {
                    into.len += 1;
                    return Some(());
                }
                b'\\' => self.escape(into)?,
                _ => return None,
            }
        }
    }

    /// What stands for itself, and the byte that ends it. Most of it is shorter than a word.
    #[expect(clippy::inline_always, reason = "as above")]
    #[inline(always)]
    fn run(&mut self, into: &mut Unescaped) -> Option<u8> {
        if let Some(word) = self.rest.first_chunk() {
            let len = first_special_of(word);
            if len < WORD {
                into.put(*word, len)?;
                self.rest = &self.rest[len + 1..];
                return Some(word[len]);
            }
        }
        self.long_run(into)
    }

    #[inline(never)]
    fn long_run(&mut self, into: &mut Unescaped) -> Option<u8> {
        loop {
            let word = self.rest.first_chunk().map_or_else(|| last_word(self.rest), |word| *word);
            let len = first_special_of(&word);
            into.put(word, len)?;
            let (_, rest) = self.rest.split_at_checked(len)?;
            if len == WORD {
                self.rest = rest;
            } else {
                let (end, rest) = rest.split_first()?;
                self.rest = rest;
                return Some(*end);
            }
        }
    }

    /// What follows a backslash.
    fn escape(&mut self, into: &mut Unescaped) -> Option<()> {
        // Between the properties of each message stands a control character.
        if let Some((&[b'u', b'0', b'0', b'0', digit @ b'0'..=b'9'], rest)) =
            self.rest.split_first_chunk()
        {
            self.rest = rest;
            return into.put([digit - b'0'], 1);
        }
        into.push(self.escaped()?)
    }

    /// What a backslash stands in front of. Halves of a character are left to the other reader.
    fn escaped(&mut self) -> Option<char> {
        let (byte, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(match byte {
            b'"' | b'\\' | b'/' => char::from(*byte),
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                let (digits, rest) = self.rest.split_first_chunk::<4>()?;
                self.rest = rest;
                let number = digits.iter().try_fold(0, |number, digit| {
                    Some(number * 16 + char::from(*digit).to_digit(16)?)
                });
                char::from_u32(number?)?
            }
            _ => return None,
        })
    }

    /// A whole number of at most nine digits. What is none, or longer, has a digit behind it.
    fn number(&mut self) -> Option<i32> {
        let (is_negative, digits) = match self.rest {
            [b'-', rest @ ..] => (true, rest),
            rest => (false, rest),
        };
        let most = if digits.first()? == &b'0' { 1 } else { 9 };
        let (mut number, mut len) = (0, 0);
        while len < most
            && let Some(digit @ b'0'..=b'9') = digits.get(len)
        {
            number = number * 10 + i32::from(digit - b'0');
            len += 1;
        }
        if len == 0 || (is_negative && number == 0) {
            return None;
        }
        self.rest = &digits[len..];
        Some(if is_negative { -number } else { number })
    }

    /// The ext fields behind their brace.
    fn fields(&mut self) -> Option<Fields> {
        if self.eat(b"}").is_some() {
            return Some(Fields::default());
        }
        let mut text = Unescaped::with_room_for(self.rest);
        let mut ends = Vec::with_capacity(FIELDS_EXPECTED);
        loop {
            self.field_key(&mut text)?;
            let key = text.len - 1;
            self.field_value(&mut text)?;
            ends.push(Ends { key, value: text.len - 1 });
            match self.rest {
                [b',', rest @ ..] => self.rest = rest,
                [b'}', rest @ ..] => {
                    self.rest = rest;
                    return Some(Fields { text: text.finish()?, ends });
                }
                _ => return None,
            }
        }
    }

    /// A key, and all up to what stands in its value.
    #[inline]
    fn field_key(&mut self, text: &mut Unescaped) -> Option<()> {
        // A send's keys are a letter each.
        const LETTER: u64 = u64::from_le_bytes(*b"\"\0\":\"\0\0\0");
        const EXACT: u64 = u64::from_le_bytes(*b"\xff\0\xff\xff\xff\0\0\0");
        if let Some(word) = self.rest.first_chunk()
            && u64::from_le_bytes(*word) & EXACT == LETTER
            && word[1].is_ascii_lowercase()
        {
            self.rest = self.rest.get(5..)?;
            return text.put([word[1], BETWEEN], 2);
        }
        self.long_key(text)
    }

    #[inline]
    fn field_value(&mut self, text: &mut Unescaped) -> Option<()> {
        // Every other one is a digit.
        match self.rest {
            [digit @ b'0'..=b'9', b'"', rest @ ..] => {
                self.rest = rest;
                text.put([*digit, BETWEEN], 2)
            }
            _ => self.string(text),
        }
    }

    #[inline(never)]
    fn long_key(&mut self, text: &mut Unescaped) -> Option<()> {
        self.eat(b"\"")?;
        self.string(text)?;
        self.eat(b":\"")
    }
}

/// Strings without their escapes, one behind the other.
struct Unescaped {
    bytes: Vec<u8>,
    len: usize,
}

impl Unescaped {
    /// For strings out of `json`, which are shorter, and whose last word may lead beyond it.
    fn with_room_for(json: &[u8]) -> Self {
        Self { bytes: vec![0; json.len() + WORD], len: 0 }
    }

    /// The first `len` bytes of a word. All are copied, since that is quicker.
    fn put<const N: usize>(&mut self, word: [u8; N], len: usize) -> Option<()> {
        *self.bytes.get_mut(self.len..)?.first_chunk_mut()? = word;
        self.len += len;
        Some(())
    }

    fn push(&mut self, character: char) -> Option<()> {
        let mut word = [0; 4];
        let len = character.encode_utf8(&mut word).len();
        self.put(word, len)
    }

    /// The text, if it is UTF-8. Since no part of a character can lead over [`BETWEEN`] or a
    /// character that was escaped, each string of it is then.
    fn finish(mut self) -> Option<Text> {
        self.bytes.truncate(self.len);
        // What was kept free is the peer's word: it is not kept for long.
        if self.bytes.capacity() > 2 * self.len + TEXT_EXPECTED {
            self.bytes.shrink_to_fit();
        }
        Text::from_utf8(self.bytes.into()).ok()
    }
}
