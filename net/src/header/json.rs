//! The JSON form (wire.md 1.1), read tolerantly.

use std::fmt::{self, Write};

use hotfire_core::domain::{Language, Text};
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, Visitor};

use super::{Fields, FieldsBuilder, Header, HeaderError, language_named};

/// All is checked to be UTF-8 once.
pub(super) fn decode(bytes: &[u8]) -> Result<Header, HeaderError> {
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
        // A number left out is 0, as it is for the original.
        let mut header = Header {
            code: 0,
            language: Language::OTHER,
            version: 0,
            opaque: 0,
            flag: 0,
            remark: None,
            fields: Fields::default(),
            json: true,
        };
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
