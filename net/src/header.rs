//! Headers: what every frame says about itself (wire.md 1.1, 1.2, 2).

mod binary;
mod json;
mod plain;

use hotfire_core::domain::{Language, Text};
use thiserror::Error;

use crate::frame::Frame;
use crate::head_writer::{Body, HeadWriter, Outgoing, Prelude};

/// Flag bit: the frame answers a request.
pub const RESPONSE: i32 = 1;
/// Flag bit: nobody waits for an answer.
pub const ONEWAY: i32 = 2;

/// The version that we say we are: 5.4.0 (wire.md 3), the release that we are measured against.
pub const VERSION: i32 = 493;

/// A header, in either form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// Request code, or response code if the frame answers.
    pub code: i32,
    /// The sender's language.
    pub language: Language,
    /// The sender's version number (wire.md 3).
    pub version: i32,
    /// The request's number; an answer repeats it.
    pub opaque: i32,
    /// [`RESPONSE`] and [`ONEWAY`].
    pub flag: i32,
    /// Text for people.
    pub remark: Option<Text>,
    /// The ext fields.
    pub fields: Fields,
    /// In the JSON form (`false`: binary).
    pub json: bool,
}

/// Why a header cannot be read. The connection has to be closed: whom to answer is unknown.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum HeaderError {
    /// Broken JSON, or JSON of another shape.
    #[error("a header that is not the expected JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// A length within a binary header leads out of it, or bytes are left over.
    #[error("a binary header whose {0} does not fit")]
    Misfit(&'static str),
    /// Text that is not UTF-8.
    #[error("a header whose {0} is not UTF-8")]
    NotUtf8(&'static str),
}

impl Header {
    /// What the JSON form says that leaves everything out: a number is 0 then, as it is for the
    /// original.
    fn unsaid() -> Self {
        Self {
            code: 0,
            language: Language::OTHER,
            version: 0,
            opaque: 0,
            flag: 0,
            remark: None,
            fields: Fields::default(),
            json: true,
        }
    }

    /// Reads the header of a frame.
    pub fn decode(frame: &Frame) -> Result<Self, HeaderError> {
        if frame.json { json::decode(&frame.header) } else { binary::decode(&frame.header) }
    }

    /// The request that a frame answers, if the answer is one of success as brokers write it: all
    /// that a load wants to know of most. Of any other frame nothing is said. `json`: the header
    /// has that form.
    pub fn answers_well(json: bool, header: &[u8]) -> Option<i32> {
        if json { plain::answers_well(header) } else { None }
    }

    /// Is the frame an answer?
    pub const fn is_response(&self) -> bool {
        self.flag & RESPONSE != 0
    }

    /// Is it a request that nobody waits for?
    pub const fn is_oneway(&self) -> bool {
        self.flag & ONEWAY != 0
    }

    /// The frame of this header and `body`, in the header's own form.
    pub fn encode(&self, body: impl Into<Body>, into: &mut bytes::BytesMut) -> Outgoing {
        let mut head = HeadWriter::begin(
            into,
            Prelude {
                code: self.code,
                language: self.language,
                version: self.version,
                opaque: self.opaque,
                flag: self.flag,
                remark: self.remark.as_deref(),
                json: self.json,
            },
        );
        for (key, value) in self.fields.iter() {
            head.field(key, value);
        }
        head.finish(body)
    }
}

/// The ext fields in the order they came in: all their text in one piece, and where each ends.
///
/// Two dozen at most in practice, so looking one up by walking beats any map; and a header with
/// fourteen of them costs two allocations, and shares with its frame nothing that would keep it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fields {
    /// Key, value, key, value, and [`BETWEEN`] behind each.
    text: Text,
    ends: Vec<Ends>,
}

/// What stands behind each key and value. ASCII, so that what is UTF-8 as a whole is so in parts.
const BETWEEN: u8 = b'"';

/// Where a field's key and its value end in the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Ends {
    key: usize,
    value: usize,
}

impl Fields {
    /// The value of the first field named `key`.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.iter().find(|(name, _)| *name == key).map(|(_, value)| value)
    }

    /// One of these values as text of its own, sharing their bytes. Panics on any other text.
    pub fn share(&self, value: &str) -> Text {
        self.text.share(value)
    }

    /// All keys in order.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &[u8]> {
        let mut start = 0;
        self.ends.iter().map(move |ends| {
            let key = &self.text.as_bytes()[start..ends.key];
            start = ends.value + 1;
            key
        })
    }

    /// The value of the field at `place`, if there are so many.
    pub(crate) fn value_at(&self, place: usize) -> Option<&str> {
        self.ends.get(place).map(|ends| &self.text[ends.key + 1..ends.value])
    }

    /// All pairs in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        let mut start = 0;
        self.ends.iter().map(move |ends| {
            let Ends { key, value } = *ends;
            let pair = (&self.text[start..key], &self.text[key + 1..value]);
            start = value + 1;
            pair
        })
    }
}

impl<K: AsRef<str>, V: AsRef<str>> FromIterator<(K, V)> for Fields {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(pairs: I) -> Self {
        let mut fields = FieldsBuilder::default();
        for (key, value) in pairs {
            fields.text.push_str(key.as_ref());
            fields.end_key();
            fields.text.push_str(value.as_ref());
            fields.end_value();
        }
        fields.finish()
    }
}

/// Fields while they are read: keys and values are written to `text` in turn.
#[derive(Debug, Default)]
struct FieldsBuilder {
    text: String,
    key_end: usize,
    ends: Vec<Ends>,
}

/// A send carries fourteen.
const FIELDS_EXPECTED: usize = 16;
/// Text of a usual send, properties included. Longer text grows as it comes: a header's length is
/// the peer's word.
const TEXT_EXPECTED: usize = 1024;

impl FieldsBuilder {
    /// For fields out of so many bytes.
    fn with_capacity(bytes: usize) -> Self {
        let ends = Vec::with_capacity(if bytes == 0 { 0 } else { FIELDS_EXPECTED });
        Self { text: String::with_capacity(bytes.min(TEXT_EXPECTED)), key_end: 0, ends }
    }

    fn end(&mut self) -> usize {
        let end = self.text.len();
        self.text.push(char::from(BETWEEN));
        end
    }

    /// What was written since the last value is a key.
    fn end_key(&mut self) {
        self.key_end = self.end();
    }

    /// What was written since the key is its value.
    fn end_value(&mut self) {
        let value = self.end();
        self.ends.push(Ends { key: self.key_end, value });
    }

    /// The key that was begun has no value.
    fn drop_key(&mut self) {
        let start = self.ends.last().map_or(0, |last| last.value + 1);
        self.text.truncate(start);
    }

    fn finish(self) -> Fields {
        Fields { text: self.text.into(), ends: self.ends }
    }
}

/// Names of the language numbers, by number (wire.md 2).
const LANGUAGES: [&str; 14] = [
    "JAVA", "CPP", "DOTNET", "PYTHON", "DELPHI", "ERLANG", "RUBY", "OTHER", "HTTP", "GO", "PHP",
    "OMS", "RUST", "NODE_JS",
];

/// The name of a language; one without a name is OTHER.
pub(crate) fn language_name(language: Language) -> &'static str {
    LANGUAGES.get(usize::from(language.0)).unwrap_or(&LANGUAGES[usize::from(Language::OTHER.0)])
}

fn language_named(name: &str) -> Language {
    language_known(name.as_bytes()).unwrap_or(Language::OTHER)
}

fn language_known(name: &[u8]) -> Option<Language> {
    let number = LANGUAGES.iter().position(|known| known.as_bytes() == name)?;
    u8::try_from(number).ok().map(Language)
}

fn language_numbered(number: u8) -> Language {
    if usize::from(number) < LANGUAGES.len() { Language(number) } else { Language::OTHER }
}

/// Request codes of the POP family, which do not fit the binary header's 16 bits.
const WIDE_CODES: [i32; 8] =
    [200_050, 200_051, 200_052, 200_053, 200_054, 200_055, 200_056, 200_151];

/// Maps a truncated request code back. No other request uses those eight numbers (wire.md 1.2).
fn widen(code: i16) -> i32 {
    let wide = WIDE_CODES.into_iter().find(|wide| narrow(*wide) == code);
    wide.unwrap_or(i32::from(code))
}

/// The 16 bits of a code that the binary form has room for.
#[expect(clippy::cast_possible_truncation, reason = "the format truncates; see `widen`")]
pub(crate) const fn narrow(code: i32) -> i16 {
    code as i16
}

#[cfg(test)]
mod tests {
    use bytes::{Bytes, BytesMut};
    use proptest::prelude::*;

    use super::*;
    use crate::frame::{FrameDecoder, FrameLimits};

    fn frame_of(bytes: &[u8]) -> Frame {
        let mut decoder = FrameDecoder::new(FrameLimits::default());
        decoder.read_into().extend_from_slice(bytes);
        let frame = decoder.next_frame().expect("well formed").expect("whole");
        assert_eq!(decoder.unfinished(), 0);
        frame
    }

    fn unhex(hex: &str) -> Vec<u8> {
        let digits = hex.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).expect("hex"));
        digits.map(|pair| u8::from_str_radix(pair, 16).expect("hex")).collect()
    }

    fn header(json: bool) -> Header {
        Header {
            code: 105,
            language: Language::RUST,
            version: 479,
            opaque: 7,
            flag: 0,
            remark: None,
            fields: Fields::default(),
            json,
        }
    }

    #[test]
    fn the_vectors_of_the_specification() {
        let topic: Fields = [("topic", "T")].into_iter().collect();
        let json = Header { fields: topic.clone(), ..header(true) };
        let binary = Header { remark: Some("ok".into()), fields: topic, ..header(false) };
        let answer = Header {
            code: 0,
            language: Language::JAVA,
            version: 0,
            flag: RESPONSE,
            fields: [("msgId", "M"), ("queueId", "1"), ("queueOffset", "2")].into_iter().collect(),
            ..header(false)
        };
        for (header, body, hex) in [
            (json, "hi", VECTORS[0]),
            (binary, "hi", VECTORS[1]),
            (header(false), "", VECTORS[2]),
            (answer, "", VECTORS[3]),
        ] {
            let frame = frame_of(&unhex(hex));
            assert_eq!(Header::decode(&frame).expect("a vector"), header);
            assert_eq!(frame.body, body);
            let encoded = header.encode(Bytes::from(body), &mut BytesMut::new());
            assert_eq!(encoded.to_vec(), unhex(hex));
        }
    }

    const VECTORS: [&str; 4] = [
        concat!(
            "000000810000007b7b22636f6465223a3130352c226578744669656c6473223a7b22746f706963223a22",
            "54227d2c22666c6167223a302c226c616e6775616765223a2252555354222c226f7061717565223a372c",
            "2273657269616c697a655479706543757272656e74525043223a224a534f4e222c2276657273696f6e22",
            "3a3437397d6869",
        ),
        concat!(
            "000000290100002300690c01df0000000700000000000000",
            "026f6b0000000c0005746f70696300000001546869",
        ),
        "000000190100001500690c01df00000007000000000000000000000000",
        concat!(
            "000000450100004100000000000000000700000001000000000000002c00056d73674964000000014d00",
            "07717565756549640000000131000b71756575654f66667365740000000132",
        ),
    ];

    #[test]
    fn json_is_read_tolerantly() {
        let text = br#"{"version":1,"new":{"x":[1,null]},"language":"KLINGON","extFields":
            {"n":12,"b":true,"gone":null,"esc":"a\u0001b","f":1.5,"big":1e300},"remark":null,
            "code":-5}"#;
        let frame = Frame { json: true, header: Bytes::from_static(text), body: Bytes::new() };
        let header = Header::decode(&frame).expect("tolerated");
        assert_eq!((header.code, header.version, header.opaque), (-5, 1, 0));
        assert_eq!(header.language, Language::OTHER);
        assert_eq!(header.remark, None);
        let fields =
            [("n", "12"), ("b", "true"), ("esc", "a\u{1}b"), ("f", "1.5"), ("big", "1e300")];
        assert_eq!(header.fields, fields.into_iter().collect());
    }

    #[test]
    fn broken_headers_are_errors() {
        for bytes in ["", "{", "[]", r#"{"code":"x"}"#, r#"{"code":1}x"#, "null"] {
            let frame = Frame { json: true, header: bytes.into(), body: Bytes::new() };
            assert!(Header::decode(&frame).is_err(), "{bytes}");
        }
        let good = header(false).encode(Bytes::new(), &mut BytesMut::new()).to_vec();
        for len in 0..21 {
            let header = Bytes::copy_from_slice(&good[8..8 + len]);
            assert!(Header::decode(&Frame { json: false, header, body: Bytes::new() }).is_err());
        }
    }

    #[test]
    fn truncated_pop_codes_are_mapped_back() {
        for code in WIDE_CODES {
            let header = Header { code, ..header(false) };
            let bytes = header.encode(Bytes::new(), &mut BytesMut::new()).to_vec();
            assert_eq!(Header::decode(&frame_of(&bytes)).expect("ours").code, code);
        }
        assert_eq!(widen(3442), 200_050);
        assert_eq!(widen(3543), 200_151);
    }

    fn any_header() -> impl Strategy<Value = Header> {
        let pairs = prop::collection::vec(("\\PC{1,12}", any::<String>()), 0..9);
        (
            (any::<i16>(), 0..14_u8, any::<i16>(), any::<i32>(), any::<i32>()),
            prop::option::of("\\PC{1,30}"),
            pairs,
            any::<bool>(),
        )
            .prop_map(|((code, language, version, opaque, flag), remark, pairs, json)| {
                Header {
                    code: widen(code),
                    language: Language(language),
                    version: version.into(),
                    opaque,
                    flag: if i32::from(code) == widen(code) { flag } else { flag & !RESPONSE },
                    remark: remark.map(Text::from),
                    fields: pairs.into_iter().collect(),
                    json,
                }
            })
    }

    proptest! {
        #[test]
        fn decode_undoes_encode(header in any_header(), body: Vec<u8>) {
            let bytes = header.encode(Bytes::from(body.clone()), &mut BytesMut::new()).to_vec();
            let frame = frame_of(&bytes);
            prop_assert_eq!(Header::decode(&frame).expect("ours"), header);
            prop_assert_eq!(frame.body, body);
        }

        #[test]
        fn noise_is_an_error_or_a_header_but_no_panic(json: bool, noise: Vec<u8>) {
            let _ = Header::decode(&Frame { json, header: noise.into(), body: Bytes::new() });
        }
    }
}
