//! The JSON form (wire.md 1.1), read tolerantly.

use std::fmt::{self, Write};

use hotfire_core::domain::Text;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, Visitor};

use super::{Fields, FieldsBuilder, Header, HeaderError, language_named, plain};

pub(super) fn decode(bytes: &[u8]) -> Result<Header, HeaderError> {
    plain::decode(bytes).map_or_else(|| decode_any(bytes), Ok)
}

/// All is checked to be UTF-8 once.
fn decode_any(bytes: &[u8]) -> Result<Header, HeaderError> {
    let whole = std::str::from_utf8(bytes).map_err(|_| HeaderError::NotUtf8("JSON"))?;
    let mut json = serde_json::Deserializer::from_str(whole);
    let header = Whole { len: whole.len() }.deserialize(&mut json)?;
    json.end()?;
    Ok(header)
}

#[derive(serde::Deserialize)]
#[serde(field_identifier, rename_all = "camelCase")]
enum Key {
    Code,
    ExtFields,
    Flag,
    Language,
    Opaque,
    Remark,
    Version,
    #[serde(other)]
    Other,
}

/// A whole header, of so many bytes.
struct Whole {
    len: usize,
}

impl<'de> DeserializeSeed<'de> for Whole {
    type Value = Header;
    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Header, D::Error> {
        from.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Whole {
    type Value = Header;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a header object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Header, A::Error> {
        let mut header = Header::unsaid();
        while let Some(key) = map.next_key()? {
            match key {
                Key::Code => header.code = map.next_value()?,
                Key::ExtFields => {
                    header.fields = map.next_value_seed(Pairs { len: self.len })?;
                }
                Key::Flag => header.flag = map.next_value()?,
                Key::Language => {
                    let mut name = String::new();
                    map.next_value_seed(Value(&mut name))?;
                    header.language = language_named(&name);
                }
                Key::Opaque => header.opaque = map.next_value()?,
                Key::Remark => {
                    let mut remark = String::new();
                    let is_some = map.next_value_seed(Value(&mut remark))?;
                    header.remark = is_some.then(|| Text::from(remark));
                }
                Key::Version => header.version = map.next_value()?,
                Key::Other => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(header)
    }
}

/// The ext fields: an object of scalars, or null, in a header of so many bytes.
struct Pairs {
    len: usize,
}

impl<'de> DeserializeSeed<'de> for Pairs {
    type Value = Fields;
    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Fields, D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Pairs {
    type Value = Fields;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of strings")
    }

    fn visit_unit<E: Error>(self) -> Result<Fields, E> {
        Ok(Fields::default())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
        let mut fields = FieldsBuilder::with_capacity(self.len);
        while map.next_key_seed(Value(&mut fields.text))?.is_some() {
            fields.end_key();
            if map.next_value_seed(Value(&mut fields.text))? {
                fields.end_value();
            } else {
                fields.drop_key();
            }
        }
        Ok(fields.finish())
    }
}

/// A scalar, written as text behind what there is. Was there one? Null is none.
struct Value<'a>(&'a mut String);

impl Value<'_> {
    fn show<E: Error>(self, scalar: impl fmt::Display) -> Result<bool, E> {
        write!(self.0, "{scalar}").map_err(E::custom)?;
        Ok(true)
    }
}

impl<'de> DeserializeSeed<'de> for Value<'_> {
    type Value = bool;
    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<bool, D::Error> {
        from.deserialize_any(self)
    }
}

impl Visitor<'_> for Value<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string, number, boolean or null")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<bool, E> {
        self.0.push_str(text);
        Ok(true)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<bool, E> {
        self.show(value)
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<bool, E> {
        self.show(value)
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<bool, E> {
        self.show(value)
    }

    /// With an exponent if it is long: six bytes of a header must not become three hundred.
    fn visit_f64<E: Error>(self, value: f64) -> Result<bool, E> {
        self.show(format_args!("{value:?}"))
    }

    fn visit_unit<E: Error>(self) -> Result<bool, E> {
        Ok(false)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A header as a client writes it.
    fn header() -> impl Strategy<Value = String> {
        let number = || prop_oneof![any::<i32>(), -1..12_i32];
        let text = || prop_oneof![any::<String>(), "[a-zA-Z0-9 \u{1}\u{2}\"/\\\\]{0,40}"];
        let pair = ("[a-z]{1,9}", text());
        let pairs = prop::collection::vec(pair, 0..9).prop_map(|pairs| {
            let quoted = |text: &str| serde_json::Value::from(text).to_string();
            let pairs = pairs.iter().map(|(key, value)| format!("\"{key}\":{}", quoted(value)));
            format!("{{{}}}", pairs.collect::<Vec<_>>().join(","))
        });
        (number(), pairs, number(), number(), prop::option::of(text())).prop_map(
            |(code, pairs, opaque, version, remark)| {
                let remark = remark.map(|remark| serde_json::Value::from(remark).to_string());
                let remark = remark.map_or_else(String::new, |text| format!(",\"remark\":{text}"));
                format!(
                    "{{\"code\":{code},\"extFields\":{pairs},\"flag\":0,\"language\":\"JAVA\",\
                     \"opaque\":{opaque}{remark},\"serializeTypeCurrentRPC\":\"JSON\",\
                     \"version\":{version}}}"
                )
            },
        )
    }

    fn same(text: &[u8]) -> Result<bool, TestCaseError> {
        let Some(plain) = plain::decode(text) else { return Ok(false) };
        prop_assert_eq!(decode_any(text).ok(), Some(plain), "{}", text.escape_ascii());
        Ok(true)
    }

    #[test]
    fn what_is_said_twice_is_left_to_the_tolerant_reader() {
        let text = br#"{"remark":"a","remark":"b","extFields":{"a":"1"},"extFields":{"b":"2"}}"#;
        assert_eq!(plain::decode(text), None);
        let header = decode(text).expect("tolerated");
        assert_eq!(header.remark, Some("b".into()));
        assert_eq!(header.fields, [("b", "2")].into_iter().collect());
    }

    proptest! {
        #[test]
        fn what_clients_write_is_read_the_same_by_both(text in header()) {
            let wide = |text: &str| text.split(['-', ':', ',', '}']).any(|part| {
                part.len() > 9 && part.parse::<i64>().is_ok()
            });
            let is_read = same(text.as_bytes())?;
            prop_assert!(is_read || wide(&text), "left to the other: {}", text);
        }

        /// Whatever the short way takes for a header is one, to the last byte.
        #[test]
        fn what_is_broken_is_read_by_neither_or_the_same_by_both(
            text in header(),
            at: prop::sample::Index,
            other in "[-0-9a-fn:,{}\"\\\\u \u{1}.]{0,2}",
            cut in 0..3_usize,
        ) {
            let mut chars: Vec<char> = text.chars().collect();
            let at = at.index(chars.len());
            let end = (at + cut).min(chars.len());
            chars.splice(at..end, other.chars());
            same(chars.into_iter().collect::<String>().as_bytes())?;
        }

        /// An answer is one of success, or nothing is said.
        #[test]
        fn what_answers_well_is_an_answer_and_says_so(
            text in header(),
            code in 0..2_i32,
            flag in 0..2_i32,
            at: prop::sample::Index,
            other in prop::sample::select(vec!["", "}", "},\"flag\":1,", "\"opaque\":7", "\\\""]),
        ) {
            let code = format!("{{\"code\":{code},");
            let text = text.split_once(',').map(|(_, rest)| code + rest).expect("many members");
            let text = text.replace("\"flag\":0", &format!("\"flag\":{flag}"));
            let mut chars: Vec<char> = text.chars().collect();
            let at = at.index(chars.len());
            chars.splice(at..at, other.chars());
            let text: String = chars.into_iter().collect();
            let said = plain::answers_well(text.as_bytes());
            if let Ok(whole) = decode_any(text.as_bytes()) {
                let is_well = whole.code == 0 && whole.is_response();
                prop_assert!(said.is_none_or(|opaque| is_well && opaque == whole.opaque), "{text}");
                let is_usual = other.is_empty() && whole.remark.is_none();
                let fits = [whole.opaque, whole.version].iter().all(|n| n.abs() < 1_000_000_000);
                prop_assert!(said.is_some() || !(is_well && is_usual && fits), "{text}");
            }
        }

        /// Nor does it take for text what is none.
        #[test]
        fn bytes_that_are_no_text_are_read_by_neither(
            text in header(),
            at: prop::sample::Index,
            other in prop::collection::vec(any::<u8>(), 0..3),
            cut in 0..3_usize,
        ) {
            let mut bytes = text.into_bytes();
            let at = at.index(bytes.len());
            let end = (at + cut).min(bytes.len());
            bytes.splice(at..end, other);
            same(&bytes)?;
        }
    }
}
