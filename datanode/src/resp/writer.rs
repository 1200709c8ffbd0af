//! Replies as a server writes them. Functions here append the protocol's parts; [`Reply`] chooses between RESP2 and
//! RESP3 forms by the client's protocol version.

/// Appends the decimal digits of `n`.
pub fn integer_digits(out: &mut Vec<u8>, n: i64) {
    let mut buf = [0u8; 20];
    out.extend_from_slice(format_i64(&mut buf, n));
}

/// Formats `n` into `buf` and returns the digits.
pub fn format_i64(buf: &mut [u8; 20], n: i64) -> &[u8] {
    let mut i = buf.len();
    let mut v = n.unsigned_abs();
    loop {
        i -= 1;
        buf[i] = b'0' + (v % 10) as u8;
        v /= 10;
        if v == 0 {
            break;
        }
    }
    if n < 0 {
        i -= 1;
        buf[i] = b'-';
    }
    &buf[i..]
}

fn prefixed(out: &mut Vec<u8>, prefix: u8, n: i64) {
    out.push(prefix);
    integer_digits(out, n);
    out.extend_from_slice(b"\r\n");
}

/// `$len\r\nbytes\r\n`
pub fn bulk(out: &mut Vec<u8>, bytes: &[u8]) {
    prefixed(out, b'$', bytes.len() as i64);
    out.extend_from_slice(bytes);
    out.extend_from_slice(b"\r\n");
}

/// `*len\r\n`
pub fn array_len(out: &mut Vec<u8>, len: usize) {
    prefixed(out, b'*', len as i64);
}

/// A double as Redis 7.0 prints it: `%.17g`, `inf`, `-inf`, `nan`.
pub fn format_double(v: f64) -> String {
    if v.is_nan() {
        return "nan".into();
    }
    if v.is_infinite() {
        return if v > 0.0 { "inf".into() } else { "-inf".into() };
    }
    if v == 0.0 {
        return if v.is_sign_negative() { "-0".into() } else { "0".into() };
    }
    if v == v.trunc() && v.abs() < 1e17 {
        return format!("{}", v as i64);
    }
    format_g17(v)
}

/// C's `%.17g`.
fn format_g17(v: f64) -> String {
    let s = format!("{v:.16e}");
    let (mantissa, exp) = s.split_once('e').unwrap_or((&s, "0"));
    let exp: i32 = exp.parse().unwrap_or(0);
    if !(-4..17).contains(&exp) {
        let m = trim_zeros(mantissa);
        let sign = if exp < 0 { '-' } else { '+' };
        return format!("{m}e{sign}{:02}", exp.abs());
    }
    let decimals = (16 - exp).max(0) as usize;
    trim_zeros(&format!("{v:.decimals$}")).to_string()
}

fn trim_zeros(s: &str) -> &str {
    if s.contains('.') { s.trim_end_matches('0').trim_end_matches('.') } else { s }
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
        let mut buf = [0u8; 20];
        bulk(self.out, format_i64(&mut buf, n));
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
    fn doubles_print_as_in_c() {
        for (v, s) in [
            (0.1, "0.10000000000000001"),
            (3.0, "3"),
            (-1.5, "-1.5"),
            (1e20, "1e+20"),
            (1.0e-7, "9.9999999999999995e-08"),
            (f64::INFINITY, "inf"),
            (-0.0, "-0"),
            (123456.789, "123456.789"),
            (1e17, "1e+17"),
        ] {
            assert_eq!(format_double(v), s, "{v:e}");
        }
    }

    #[test]
    fn extremes_of_integers() {
        let mut out = Vec::new();
        integer_digits(&mut out, i64::MIN);
        assert_eq!(out, b"-9223372036854775808");
    }
}
