//! Replies as a server writes them. Functions here append the protocol's parts; [`Reply`] chooses between RESP2 and
//! RESP3 forms by the client's protocol version.

use crate::store::num::IntBuf;
pub use crate::store::num::format_float as format_double;

/// Appends the decimal digits of `n`.
pub fn integer_digits(out: &mut Vec<u8>, n: i64) {
    out.extend_from_slice(IntBuf::new().format(n));
}

fn prefixed(out: &mut Vec<u8>, prefix: u8, n: i64) {
    // Most are small; then it is one piece, made at once.
    match n {
        0..=9 => out.extend_from_slice(&[prefix, b'0' + n as u8, b'\r', b'\n']),
        10..=99 => {
            out.extend_from_slice(&[prefix, b'0' + (n / 10) as u8, b'0' + (n % 10) as u8, b'\r', b'\n'])
        }
        _ => {
            out.push(prefix);
            integer_digits(out, n);
            out.extend_from_slice(b"\r\n");
        }
    }
}

/// `$len\r\nbytes\r\n`
pub fn bulk(out: &mut Vec<u8>, bytes: &[u8]) {
    /// Room for all but the bytes: a sign, a length, two line ends.
    const AROUND: usize = 32;
    out.reserve(bytes.len() + AROUND);
    prefixed(out, b'$', bytes.len() as i64);
    out.extend_from_slice(bytes);
    out.extend_from_slice(b"\r\n");
}

/// `*len\r\n`
pub fn array_len(out: &mut Vec<u8>, len: usize) {
    prefixed(out, b'*', len as i64);
}

/// Writes replies in the form of a client's protocol version.
pub struct Reply<'a> {
    /// The client's output.
    pub out: &'a mut Vec<u8>,
    /// 2 or 3.
    pub proto: u8,
}

impl Reply<'_> {
    /// True for RESP3 clients.
    pub fn resp3(&self) -> bool {
        self.proto >= 3
    }

    /// `+OK`
    pub fn ok(&mut self) {
        self.out.extend_from_slice(b"+OK\r\n");
    }

    /// A simple string; must not contain CR or LF.
    pub fn simple(&mut self, s: &str) {
        self.out.push(b'+');
        self.out.extend_from_slice(s.as_bytes());
        self.out.extend_from_slice(b"\r\n");
    }

    /// An error; `text` starts with its code (`ERR …`). CR and LF are replaced, as Redis does.
    pub fn error(&mut self, text: &str) {
        self.out.push(b'-');
        self.out.extend(text.bytes().map(|b| if b == b'\r' || b == b'\n' { b' ' } else { b }));
        self.out.extend_from_slice(b"\r\n");
    }

    /// An integer.
    pub fn int(&mut self, n: i64) {
        match n {
            0 => self.out.extend_from_slice(b":0\r\n"),
            1 => self.out.extend_from_slice(b":1\r\n"),
            _ => prefixed(self.out, b':', n),
        }
    }

    /// A bulk string.
    pub fn bulk(&mut self, bytes: &[u8]) {
        bulk(self.out, bytes);
    }

    /// An integer as a bulk string.
    pub fn bulk_int(&mut self, n: i64) {
        bulk(self.out, IntBuf::new().format(n));
    }

    /// Null: `$-1` in RESP2, `_` in RESP3.
    pub fn null(&mut self) {
        self.out.extend_from_slice(if self.resp3() { b"_\r\n" } else { b"$-1\r\n" });
    }

    /// Null in the place of an array: `*-1` in RESP2, `_` in RESP3.
    pub fn null_array(&mut self) {
        self.out.extend_from_slice(if self.resp3() { b"_\r\n" } else { b"*-1\r\n" });
    }

    /// Starts an array of `len` elements.
    pub fn array(&mut self, len: usize) {
        array_len(self.out, len);
    }

    /// Starts a map of `pairs` pairs: a flat array in RESP2.
    pub fn map(&mut self, pairs: usize) {
        if self.resp3() { prefixed(self.out, b'%', pairs as i64) } else { array_len(self.out, pairs * 2) }
    }

    /// Starts a set of `len` elements: an array in RESP2.
    pub fn set(&mut self, len: usize) {
        if self.resp3() { prefixed(self.out, b'~', len as i64) } else { array_len(self.out, len) }
    }

    /// Starts a push message of `len` elements: an array in RESP2.
    pub fn push(&mut self, len: usize) {
        if self.resp3() { prefixed(self.out, b'>', len as i64) } else { array_len(self.out, len) }
    }

    /// A double: a bulk string in RESP2.
    pub fn double(&mut self, v: f64) {
        let s = format_double(v);
        if self.resp3() {
            self.out.push(b',');
            self.out.extend_from_slice(s.as_bytes());
            self.out.extend_from_slice(b"\r\n");
        } else {
            self.bulk(s.as_bytes());
        }
    }

    /// A boolean: `#t`/`#f`, or 1/0 in RESP2.
    pub fn bool(&mut self, v: bool) {
        if self.resp3() {
            self.out.extend_from_slice(if v { b"#t\r\n" } else { b"#f\r\n" });
        } else {
            self.int(i64::from(v));
        }
    }

    /// A verbatim text string: a bulk string in RESP2.
    pub fn verbatim(&mut self, text: &str) {
        if self.resp3() {
            prefixed(self.out, b'=', text.len() as i64 + 4);
            self.out.extend_from_slice(b"txt:");
            self.out.extend_from_slice(text.as_bytes());
            self.out.extend_from_slice(b"\r\n");
        } else {
            self.bulk(text.as_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extremes_of_integers() {
        let mut out = Vec::new();
        integer_digits(&mut out, i64::MIN);
        assert_eq!(out, b"-9223372036854775808");
    }
}
