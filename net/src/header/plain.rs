//! The JSON form as clients write it: whole numbers and strings, no space between them. It is most
//! of what there is to do for a small message, so it is read in one walk; whatever else is JSON is
//! left to the tolerant reader, and both read the same of what both can read.

use hotfire_core::domain::Text;

use super::{Fields, FieldsBuilder, Header, language_named};
use crate::json_text::first_special;

/// The header, if `text` is such a one.
pub(super) fn decode(text: &str) -> Option<Header> {
    let mut scan = Scan { text, at: 0 };
    let mut header = Header::unsaid();
    scan.eat(b'{')?;
    loop {
        match scan.key()? {
            "code" => header.code = scan.number()?,
            "extFields" => header.fields = scan.fields()?,
            "flag" => header.flag = scan.number()?,
            "language" => header.language = language_named(scan.plain()?),
            "opaque" => header.opaque = scan.number()?,
            "remark" => {
                let mut remark = String::new();
                scan.string(&mut remark)?;
                header.remark = Some(Text::from(remark));
            }
            "version" => header.version = scan.number()?,
            "serializeTypeCurrentRPC" => drop(scan.plain()?),
            _ => return None,
        }
        if scan.ends(b'}')? {
            return (scan.at == text.len()).then_some(header);
        }
    }
}

struct Scan<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Scan<'a> {
    fn eat(&mut self, byte: u8) -> Option<()> {
        let is_next = self.text.as_bytes().get(self.at) == Some(&byte);
        self.at += usize::from(is_next);
        is_next.then_some(())
    }

    /// Behind a value: does the object end (`true`), or go on?
    fn ends(&mut self, end: u8) -> Option<bool> {
        let byte = *self.text.as_bytes().get(self.at)?;
        self.at += 1;
        (byte == end || byte == b',').then_some(byte == end)
    }

    /// A string without an escape.
    fn plain(&mut self) -> Option<&'a str> {
        self.eat(b'"')?;
        let (from, to) = (self.at, first_special(self.text.as_bytes(), self.at));
        self.at = to;
        self.eat(b'"')?;
        self.text.get(from..to)
    }

    fn key(&mut self) -> Option<&'a str> {
        let key = self.plain()?;
        self.eat(b':')?;
        Some(key)
    }

    /// A string, behind what `into` holds.
    fn string(&mut self, into: &mut String) -> Option<()> {
        self.eat(b'"')?;
        loop {
            let to = first_special(self.text.as_bytes(), self.at);
            into.push_str(self.text.get(self.at..to)?);
            self.at = to + 1;
            match self.text.as_bytes().get(to)? {
                b'"' => return Some(()),
                b'\\' => into.push(self.escaped()?),
                _ => return None,
            }
        }
    }

    /// What a backslash stands in front of. Halves of a character are left to the other reader.
    fn escaped(&mut self) -> Option<char> {
        let byte = *self.text.as_bytes().get(self.at)?;
        self.at += 1;
        Some(match byte {
            b'"' | b'\\' | b'/' => char::from(byte),
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                let digits = self.text.as_bytes().get(self.at..self.at + 4)?;
                self.at += 4;
                let number = digits.iter().try_fold(0, |number, digit| {
                    Some(number * 16 + char::from(*digit).to_digit(16)?)
                });
                char::from_u32(number?)?
            }
            _ => return None,
        })
    }

    /// A whole number of at most nine digits, or a short of it.
    fn number(&mut self) -> Option<i32> {
        let rest = &self.text.as_bytes()[self.at..];
        let is_negative = rest.first() == Some(&b'-');
        let rest = &rest[usize::from(is_negative)..];
        let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let is_usual = (1..=9).contains(&digits) && (rest[0] != b'0' || rest[..digits] == *b"0");
        if !is_usual || (is_negative && rest[0] == b'0') {
            return None;
        }
        let number = rest[..digits].iter().fold(0, |sum, digit| sum * 10 + i32::from(digit - b'0'));
        self.at += digits + usize::from(is_negative);
        Some(if is_negative { -number } else { number })
    }

    fn fields(&mut self) -> Option<Fields> {
        self.eat(b'{')?;
        let mut fields = FieldsBuilder::with_capacity(self.text.len());
        if self.eat(b'}').is_some() {
            return Some(fields.finish());
        }
        loop {
            fields.text.push_str(self.key()?);
            fields.end_key();
            self.string(&mut fields.text)?;
            fields.end_value();
            if self.ends(b'}')? {
                return Some(fields.finish());
            }
        }
    }
}
