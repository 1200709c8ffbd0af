//! One value as `DUMP` gives it and `RESTORE` takes it: type, value, version (2 bytes), checksum of all before (8
//! bytes), both little-endian (<https://redis.io/docs/latest/commands/dump/>).

use super::encode::ValueWriter;
use super::input::Input;
use super::*;
use crate::store::limits::Limits;
use crate::store::value::{Value, ValueRef};

const FOOTER: usize = 10;

/// The payload of a value.
pub fn encode<'a>(values: &mut ValueWriter, value: impl Into<ValueRef<'a>>) -> Vec<u8> {
    let value = value.into();
    let mut out = vec![ValueWriter::kind(value)];
    values.value(&mut out, value);
    sealed(out)
}

/// A body with version and checksum.
pub(super) fn sealed(mut out: Vec<u8>) -> Vec<u8> {
    out.extend_from_slice(&VERSION.to_le_bytes());
    let checksum = crc64::update(0, &out);
    out.extend_from_slice(&checksum.to_le_bytes());
    out
}

/// What is to be verified before a payload is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verify {
    /// Version and checksum.
    Footer,
    /// Its version (`DEBUG SET-SKIP-CHECKSUM-VALIDATION`).
    Version,
}

/// The value of a payload: [`ErrorKind::Corrupt`] and [`ErrorKind::Unsupported`] are what `RESTORE` answers with "Bad data
/// format", others, about the footer, with "DUMP payload version or checksum are wrong".
pub fn decode(payload: &[u8], limits: &Limits, verify: Verify) -> Result<Value, Error> {
    let body = opened(payload, verify)?;
    decode_body(body, limits).map_err(|e| match e.kind {
        ErrorKind::Truncated => Error { kind: ErrorKind::Corrupt(e.kind.to_string()), ..e },
        _ => e,
    })
}

/// The body of a payload whose footer is right.
pub(super) fn opened(payload: &[u8], verify: Verify) -> Result<&[u8], Error> {
    let at = |offset: usize, kind| Error { offset: offset as u64, kind };
    let Some((body, footer)) = payload.split_last_chunk::<FOOTER>() else {
        return Err(at(payload.len(), ErrorKind::Truncated));
    };
    let (mut version, mut stored) = ([0; 2], [0; 8]);
    version.copy_from_slice(&footer[..2]);
    stored.copy_from_slice(&footer[2..]);
    let (version, stored) = (u16::from_le_bytes(version), u64::from_le_bytes(stored));
    if version > MAX_VERSION {
        return Err(at(body.len(), ErrorKind::Version(version.into())));
    }
    let computed = crc64::update(0, &payload[..payload.len() - 8]);
    if stored != computed && verify == Verify::Footer {
        return Err(at(body.len() + 2, ErrorKind::Checksum { stored, computed }));
    }
    Ok(body)
}

fn decode_body(body: &[u8], limits: &Limits) -> Result<Value, Error> {
    let mut input = Input::with_buffer(body, body.len());
    let kind = input.u8()?;
    let value = value::read(&mut input, kind, limits)?;
    if input.offset() != body.len() as u64 {
        return Err(input.corrupt("bytes are left over"));
    }
    if value.is_void() {
        return Err(input.corrupt("a collection without elements"));
    }
    Ok(value)
}
