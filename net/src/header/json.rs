//! The JSON form (wire.md 1.1), read tolerantly and without copying what has no escapes.

use std::fmt;

use bytes::Bytes;
use hotfire_core::domain::{Language, Text};
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, Visitor};

use super::{Fields, Header, HeaderError, language_named, shared};

pub(super) fn decode(bytes: &Bytes) -> Result<Header, HeaderError> {
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let header = Whole(bytes).deserialize(&mut json)?;
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

/// A whole header; like every seed here it holds the bytes that texts are slices of.
struct Whole<'a>(&'a Bytes);

impl<'de> DeserializeSeed<'de> for Whole<'_> {
    type Value = Header;
    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Header, D::Error> {
        from.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Whole<'_> {
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
                Key::ExtFields => header.fields = map.next_value_seed(Pairs(self.0))?,
                Key::Flag => header.flag = map.next_value()?,
                Key::Language => {
                    let name = map.next_value_seed(Value(self.0))?;
                    header.language = name.map_or(Language::OTHER, |name| language_named(&name));
                }
                Key::Opaque => header.opaque = map.next_value()?,
                Key::Remark => header.remark = map.next_value_seed(Value(self.0))?,
                Key::Version => header.version = map.next_value()?,
                Key::Other => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(header)
    }
}

/// The ext fields: an object of scalars, or null.
struct Pairs<'a>(&'a Bytes);

impl<'de> DeserializeSeed<'de> for Pairs<'_> {
    type Value = Fields;
    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Fields, D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Pairs<'_> {
    type Value = Fields;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of strings")
    }

    fn visit_unit<E: Error>(self) -> Result<Fields, E> {
        Ok(Fields::default())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
        let mut pairs = Vec::with_capacity(PAIRS_EXPECTED);
        while let Some(key) = map.next_key_seed(Value(self.0))? {
            let value = map.next_value_seed(Value(self.0))?;
            pairs.extend(key.zip(value));
        }
        Ok(Fields(pairs))
    }
}

/// A send carries fourteen.
const PAIRS_EXPECTED: usize = 16;

/// A scalar as text; null is none.
struct Value<'a>(&'a Bytes);

impl<'de> DeserializeSeed<'de> for Value<'_> {
    type Value = Option<Text>;
    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Option<Text>, D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Value<'_> {
    type Value = Option<Text>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string, number, boolean or null")
    }

    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Option<Text>, E> {
        Ok(Some(shared(self.0, text)))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Option<Text>, E> {
        Ok(Some(Text::from(text)))
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Option<Text>, E> {
        Ok(Some(Text::from_static(if value { "true" } else { "false" })))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Option<Text>, E> {
        Ok(Some(value.to_string().into()))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Option<Text>, E> {
        Ok(Some(value.to_string().into()))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Option<Text>, E> {
        Ok(Some(value.to_string().into()))
    }

    fn visit_unit<E: Error>(self) -> Result<Option<Text>, E> {
        Ok(None)
    }
}
