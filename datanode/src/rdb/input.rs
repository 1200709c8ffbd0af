//! Reads the primitives of the format from a byte stream, counting offsets and summing what has been consumed. No
//! length found in the stream is trusted: memory grows only as bytes really arrive.

use std::io::{self, Read};

use crate::store::num::parse_float;

use super::{Error, ErrorKind, crc64, lzf};

const BUFFER: usize = 64 * 1024;
/// Strings are read in pieces of this size.
const PIECE: usize = 1024 * 1024;

/// A length, or the mark of a specially encoded string.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Length {
    /// A plain length.
    Len(u64),
    /// One of the `ENC_` marks.
    Encoded(u8),
}

/// A buffered reader.
pub struct Input<R> {
    inner: R,
    buf: Box<[u8]>,
    pos: usize,
    end: usize,
    /// Offset of `buf[0]` in the stream.
    base: u64,
    crc: u64,
    /// Bytes of `buf` that are in `crc` already.
    summed: usize,
    /// A string that does not lie in `buf` as it is ([`Input::borrowed`]).
    unpacked: Vec<u8>,
}

impl<R: Read> Input<R> {
    /// Starts at offset 0.
    pub fn new(inner: R) -> Self {
        Self::with_buffer(inner, BUFFER)
    }

    /// As [`Input::new`], with a buffer of `size` bytes, at most the usual one: for sources known to be short.
    pub fn with_buffer(inner: R, size: usize) -> Self {
        let buf = vec![0; size.clamp(1, BUFFER)];
        Input {
            inner,
            buf: buf.into_boxed_slice(),
            pos: 0,
            end: 0,
            base: 0,
            crc: 0,
            summed: 0,
            unpacked: Vec::new(),
        }
    }

    /// Bytes consumed so far.
    pub fn offset(&self) -> u64 {
        self.base + self.pos as u64
    }

    /// Checksum of the bytes consumed so far.
    pub fn checksum(&mut self) -> u64 {
        self.crc = crc64::update(self.crc, &self.buf[self.summed..self.pos]);
        self.summed = self.pos;
        self.crc
    }

    /// What has not been consumed.
    pub fn into_rest(self) -> io::Chain<io::Cursor<Vec<u8>>, R> {
        let buffered = self.buf[self.pos..self.end].to_vec();
        io::Cursor::new(buffered).chain(self.inner)
    }

    /// An error at the present offset.
    pub fn error(&self, kind: ErrorKind) -> Error {
        Error { offset: self.offset(), kind }
    }

    /// Damage found at the present offset.
    pub fn corrupt(&self, what: impl Into<String>) -> Error {
        self.error(ErrorKind::Corrupt(what.into()))
    }

    fn fill(&mut self) -> Result<(), Error> {
        self.checksum();
        self.base += self.pos as u64;
        (self.pos, self.end, self.summed) = (0, 0, 0);
        loop {
            match self.inner.read(&mut self.buf) {
                Ok(0) => return Err(self.error(ErrorKind::Truncated)),
                Ok(n) => {
                    self.end = n;
                    return Ok(());
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(self.error(ErrorKind::Io(e))),
            }
        }
    }

    /// Fills `out`.
    pub fn exact(&mut self, mut out: &mut [u8]) -> Result<(), Error> {
        while !out.is_empty() {
            if self.pos == self.end {
                self.fill()?;
            }
            let n = out.len().min(self.end - self.pos);
            let (now, later) = out.split_at_mut(n);
            now.copy_from_slice(&self.buf[self.pos..self.pos + n]);
            self.pos += n;
            out = later;
        }
        Ok(())
    }

    /// `N` bytes.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        let mut a = [0; N];
        self.exact(&mut a)?;
        Ok(a)
    }

    /// One byte.
    pub fn u8(&mut self) -> Result<u8, Error> {
        Ok(self.array::<1>()?[0])
    }

    /// `len` bytes, taken in pieces.
    pub fn bytes(&mut self, len: u64) -> Result<Vec<u8>, Error> {
        let mut out = Vec::new();
        let mut left = len;
        while left > 0 {
            let n = left.min(PIECE as u64) as usize;
            let at = out.len();
            out.resize(at + n, 0);
            self.exact(&mut out[at..])?;
            left -= n as u64;
        }
        Ok(out)
    }

    /// A length or encoding mark.
    pub fn length(&mut self) -> Result<Length, Error> {
        let first = self.u8()?;
        Ok(match first >> 6 {
            0 => Length::Len(u64::from(first & 0x3f)),
            1 => Length::Len(u64::from(first & 0x3f) << 8 | u64::from(self.u8()?)),
            2 if first == super::LEN_32 => Length::Len(u64::from(u32::from_be_bytes(self.array()?))),
            2 if first == super::LEN_64 => Length::Len(u64::from_be_bytes(self.array()?)),
            2 => return Err(self.corrupt(format!("unknown length encoding {first:#04x}"))),
            _ => Length::Encoded(first & 0x3f),
        })
    }

    /// A plain length.
    pub fn len(&mut self) -> Result<u64, Error> {
        match self.length()? {
            Length::Len(n) => Ok(n),
            Length::Encoded(e) => Err(self.corrupt(format!("string encoding {e} where a length is due"))),
        }
    }

    /// A string in any encoding.
    pub fn string(&mut self) -> Result<Vec<u8>, Error> {
        let length = self.length()?;
        self.string_of(length)
    }

    /// The same where it need not be kept.
    pub fn borrowed(&mut self) -> Result<&[u8], Error> {
        let length = self.length()?;
        let mut unpacked = std::mem::take(&mut self.unpacked);
        let (start, ahead) = (self.pos, (self.end - self.pos) as u64);
        match length {
            Length::Len(n) if n <= ahead => {
                self.unpacked = unpacked;
                self.pos += n as usize;
                return Ok(&self.buf[start..self.pos]);
            }
            Length::Encoded(super::ENC_LZF) => self.unpack(&mut unpacked)?,
            _ => unpacked = self.string_of(length)?,
        }
        unpacked.shrink_to(PIECE.max(unpacked.len()));
        self.unpacked = unpacked;
        Ok(&self.unpacked)
    }

    fn string_of(&mut self, length: Length) -> Result<Vec<u8>, Error> {
        let int = |n: i64| n.to_string().into_bytes();
        match length {
            Length::Len(n) => self.bytes(n),
            Length::Encoded(super::ENC_INT8) => Ok(int(i64::from(i8::from_le_bytes(self.array()?)))),
            Length::Encoded(super::ENC_INT16) => Ok(int(i64::from(i16::from_le_bytes(self.array()?)))),
            Length::Encoded(super::ENC_INT32) => Ok(int(i64::from(i32::from_le_bytes(self.array()?)))),
            Length::Encoded(super::ENC_LZF) => {
                let mut out = Vec::new();
                self.unpack(&mut out)?;
                Ok(out)
            }
            Length::Encoded(e) => Err(self.corrupt(format!("unknown string encoding {e}"))),
        }
    }

    /// A compressed string, behind the mark that says so.
    fn unpack(&mut self, out: &mut Vec<u8>) -> Result<(), Error> {
        let (compressed, len) = (self.len()?, self.len()?);
        let restored = if compressed <= (self.end - self.pos) as u64 {
            let start = self.pos;
            self.pos += compressed as usize;
            lzf::decompress(&self.buf[start..self.pos], len, out)
        } else {
            lzf::decompress(&self.bytes(compressed)?, len, out)
        };
        restored.ok_or_else(|| self.corrupt("compressed string is damaged"))
    }

    /// A double of 8 bytes.
    pub fn double(&mut self) -> Result<f64, Error> {
        Ok(f64::from_le_bytes(self.array()?))
    }

    /// A double as text behind a length byte, the old form.
    pub fn text_double(&mut self) -> Result<f64, Error> {
        match self.u8()? {
            253 => Ok(f64::NAN),
            254 => Ok(f64::INFINITY),
            255 => Ok(f64::NEG_INFINITY),
            n => {
                let text = self.bytes(u64::from(n))?;
                parse_float(&text).ok_or_else(|| self.corrupt("score is not a number"))
            }
        }
    }
}
