//! JSON bodies (wire.md 6): the fastjson dialect read, strict JSON written.

use std::collections::BTreeMap;

use hotfire_core::domain::Text;
use hotfire_storage::dialect::to_strict;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::DecodeError;

/// A KVTable.
#[derive(Default, Deserialize, Serialize)]
#[serde(default)]
pub(super) struct KvTable {
    pub(super) table: BTreeMap<Text, Text>,
}

/// Reads a body. Strict JSON, which nearly every peer sends, is parsed as it is.
pub(super) fn parse<T: DeserializeOwned>(
    body: &[u8],
    what: &'static str,
) -> Result<T, DecodeError> {
    if let Ok(parsed) = serde_json::from_slice(body) {
        return Ok(parsed);
    }
    let broken = |why: String| DecodeError::Body { what, why };
    let strict = to_strict(body).map_err(|why| broken(why.to_string()))?;
    serde_json::from_slice(&strict).map_err(|why| broken(why.to_string()))
}

/// Writes a body. Members come in the order of the type's fields: alphabetical, as the original
/// prints them.
pub(super) fn write(body: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(body).expect("our bodies have text or integer keys and cannot fail")
}
