//! The ROCKETMQ binary form (wire.md 1.2). Every text is a slice of the frame.

use bytes::{Buf, Bytes, TryGetError};
use hotfire_core::domain::Text;

use super::{Fields, Header, HeaderError, RESPONSE, language_numbered, widen};

pub(super) fn decode(bytes: &Bytes) -> Result<Header, HeaderError> {
    let mut rest = bytes.clone();
    let code = rest.try_get_i16().map_err(fixed)?;
    let language = language_numbered(rest.try_get_u8().map_err(fixed)?);
    let version = i32::from(rest.try_get_i16().map_err(fixed)?);
    let opaque = rest.try_get_i32().map_err(fixed)?;
    let flag = rest.try_get_i32().map_err(fixed)?;
    let remark = take(&mut rest, "remark")?;
    let remark = if remark.is_empty() { None } else { Some(text(remark, "remark")?) };
    let fields = fields(take(&mut rest, "ext area")?)?;
    if rest.has_remaining() {
        return Err(HeaderError::Misfit("end"));
    }
    // Response codes are small; only a request's code can be a truncated one.
    let code = if flag & RESPONSE == 0 { widen(code) } else { i32::from(code) };
    Ok(Header { code, language, version, opaque, flag, remark, fields, json: false })
}

fn fields(mut area: Bytes) -> Result<Fields, HeaderError> {
    let mut pairs = Vec::with_capacity(if area.is_empty() { 0 } else { 16 });
    while area.has_remaining() {
        let len = area.try_get_i16().map_err(|_| HeaderError::Misfit("key length"))?;
        let key = text(cut(&mut area, len.into(), "key")?, "key")?;
        let value = text(take(&mut area, "value")?, "value")?;
        pairs.push((key, value));
    }
    Ok(Fields(pairs))
}

/// What follows a 4-byte length.
fn take(from: &mut Bytes, what: &'static str) -> Result<Bytes, HeaderError> {
    let len = from.try_get_i32().map_err(|_| HeaderError::Misfit(what))?;
    cut(from, len, what)
}

fn cut(from: &mut Bytes, len: i32, what: &'static str) -> Result<Bytes, HeaderError> {
    match usize::try_from(len) {
        Ok(len) if len <= from.len() => Ok(from.split_to(len)),
        _ => Err(HeaderError::Misfit(what)),
    }
}

fn text(bytes: Bytes, what: &'static str) -> Result<Text, HeaderError> {
    Text::from_utf8(bytes).map_err(|_| HeaderError::NotUtf8(what))
}

fn fixed(_: TryGetError) -> HeaderError {
    HeaderError::Misfit("fixed part")
}
