//! Libraries of functions as `FUNCTION DUMP` gives them: the entries that an RDB file has for them, then version and
//! checksum as in a value's payload (<https://redis.io/docs/latest/commands/function-dump/>).

use super::dump::{Verify, opened, sealed};
use super::encode::ValueWriter;
use super::input::Input;
use super::{OP_FUNCTION, OP_FUNCTION_DRAFT};

/// Why a payload is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// Its version or checksum.
    Footer,
    /// It holds something else.
    NotFunctions,
    /// It is damaged in spite of its checksum.
    Content,
}

/// The payload of these libraries' texts.
pub fn dump<'a>(libraries: impl Iterator<Item = &'a [u8]>, compression: bool) -> Vec<u8> {
    let mut values = ValueWriter::new(compression);
    let mut out = Vec::new();
    for text in libraries {
        out.push(OP_FUNCTION);
        values.string(&mut out, text);
    }
    sealed(out)
}

/// The texts of a payload's libraries.
pub fn restore(payload: &[u8]) -> Result<Vec<Vec<u8>>, Refused> {
    let body = opened(payload, Verify::Footer).map_err(|_| Refused::Footer)?;
    let mut input = Input::with_buffer(body, body.len());
    let mut texts = Vec::new();
    while input.offset() < body.len() as u64 {
        match input.u8() {
            Ok(OP_FUNCTION) => texts.push(input.string().map_err(|_| Refused::Content)?),
            Ok(OP_FUNCTION_DRAFT) => return Err(Refused::Content),
            _ => return Err(Refused::NotFunctions),
        }
    }
    Ok(texts)
}
