//! Custom headers: typed values of ext fields (wire.md 5).

use std::str::FromStr;

use hotfire_core::domain::Text;

use super::DecodeError;
use crate::header::Fields;

impl Fields {
    /// A required text.
    pub(crate) fn text(&self, key: &'static str) -> Result<Text, DecodeError> {
        self.text_if(key).ok_or(DecodeError::Missing(key))
    }

    /// An optional text.
    pub(crate) fn text_if(&self, key: &str) -> Option<Text> {
        self.get(key).map(|value| self.share(value))
    }

    /// A required number. One that does not parse counts as missing.
    pub(crate) fn number<T: FromStr>(&self, key: &'static str) -> Result<T, DecodeError> {
        self.number_if(key).ok_or(DecodeError::Missing(key))
    }

    /// An optional number.
    pub(crate) fn number_if<T: FromStr>(&self, key: &str) -> Option<T> {
        self.get(key)?.parse().ok()
    }

    /// An optional truth value: everything but `true` is false, as Java reads it.
    pub(crate) fn truth_if(&self, key: &str) -> Option<bool> {
        self.get(key).map(|text| text.eq_ignore_ascii_case("true"))
    }
}
