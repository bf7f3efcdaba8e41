//! The ROCKETMQ binary form (wire.md 1.2).

use bytes::{Buf, TryGetError};

use super::{Fields, FieldsBuilder, Header, HeaderError, RESPONSE, language_numbered, widen};

pub(super) fn decode(mut rest: &[u8]) -> Result<Header, HeaderError> {
    let code = rest.try_get_i16().map_err(fixed)?;
    let language = language_numbered(rest.try_get_u8().map_err(fixed)?);
    let version = i32::from(rest.try_get_i16().map_err(fixed)?);
    let opaque = rest.try_get_i32().map_err(fixed)?;
    let flag = rest.try_get_i32().map_err(fixed)?;
    let remark = take(&mut rest, "remark")?;
    let remark = if remark.is_empty() { None } else { Some(text(remark, "remark")?.into()) };
    let fields = fields(take(&mut rest, "ext area")?)?;
    if rest.has_remaining() {
        return Err(HeaderError::Misfit("end"));
    }
    // Response codes are small; only a request's code can be a truncated one.
    let code = if flag & RESPONSE == 0 { widen(code) } else { i32::from(code) };
    Ok(Header { code, language, version, opaque, flag, remark, fields, json: false })
}

fn fields(mut area: &[u8]) -> Result<Fields, HeaderError> {
    let mut fields = FieldsBuilder::with_capacity(area.len());
    while !area.is_empty() {
        let len = area.try_get_i16().map_err(|_| HeaderError::Misfit("key length"))?;
        fields.text.push_str(text(cut(&mut area, len.into(), "key")?, "key")?);
        fields.end_key();
        fields.text.push_str(text(take(&mut area, "value")?, "value")?);
        fields.end_value();
    }
    Ok(fields.finish())
}

/// What follows a 4-byte length.
fn take<'a>(from: &mut &'a [u8], what: &'static str) -> Result<&'a [u8], HeaderError> {
    let len = from.try_get_i32().map_err(|_| HeaderError::Misfit(what))?;
    cut(from, len, what)
}

fn cut<'a>(from: &mut &'a [u8], len: i32, what: &'static str) -> Result<&'a [u8], HeaderError> {
    let cut = usize::try_from(len).ok().and_then(|len| from.split_off(..len));
    cut.ok_or(HeaderError::Misfit(what))
}

fn text<'a>(bytes: &'a [u8], what: &'static str) -> Result<&'a str, HeaderError> {
    std::str::from_utf8(bytes).map_err(|_| HeaderError::NotUtf8(what))
}

fn fixed(_: TryGetError) -> HeaderError {
    HeaderError::Misfit("fixed part")
}
