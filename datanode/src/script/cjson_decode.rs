//! JSON to Lua values, as lenient and as strict as `cjson`.

use mlua::{Lua, Result, Table, Value};

use super::cjson::{MAX_NESTING, Settings};
use super::raise::located;
use crate::store::num::parse_float_lossy;

/// The value of a whole text.
pub(super) fn decode(lua: &Lua, settings: &Settings, text: &[u8]) -> Result<Value> {
    if text.len() >= 2 && (text[0] == 0 || text[1] == 0) {
        return Err(located(lua, "JSON parser does not support UTF-16 or UTF-32"));
    }
    let mut parser = Parser { lua, settings, text, at: 0, depth: 0 };
    let token = parser.token()?;
    let value = parser.value(token)?;
    let behind = parser.token()?;
    match behind.what {
        What::End => Ok(value),
        _ => Err(parser.unexpected("the end", &behind)),
    }
}

enum What {
    ObjectBegin,
    ObjectEnd,
    ArrayBegin,
    ArrayEnd,
    Comma,
    Colon,
    End,
    Null,
    Boolean(bool),
    Number(f64),
    String(Vec<u8>),
    Wrong(&'static str),
}

struct Token {
    what: What,
    at: usize,
}

struct Parser<'a> {
    lua: &'a Lua,
    settings: &'a Settings,
    text: &'a [u8],
    at: usize,
    depth: u32,
}

impl Parser<'_> {
    fn byte(&self, at: usize) -> u8 {
        self.text.get(at).copied().unwrap_or(0)
    }

    fn unexpected(&self, expected: &str, token: &Token) -> mlua::Error {
        let found = match token.what {
            What::ObjectBegin => "T_OBJ_BEGIN",
            What::ObjectEnd => "T_OBJ_END",
            What::ArrayBegin => "T_ARR_BEGIN",
            What::ArrayEnd => "T_ARR_END",
            What::Comma => "T_COMMA",
            What::Colon => "T_COLON",
            What::End => "T_END",
            What::Null => "T_NULL",
            What::Boolean(_) => "T_BOOLEAN",
            What::Number(_) => "T_NUMBER",
            What::String(_) => "T_STRING",
            What::Wrong(why) => why,
        };
        let at = token.at + 1;
        located(self.lua, format_args!("Expected {expected} but found {found} at character {at}"))
    }

    fn token(&mut self) -> Result<Token> {
        while matches!(self.byte(self.at), b' ' | b'\t' | b'\n' | b'\r') && self.at < self.text.len() {
            self.at += 1;
        }
        let at = self.at;
        let single = match self.byte(at) {
            b'{' => What::ObjectBegin,
            b'}' => What::ObjectEnd,
            b'[' => What::ArrayBegin,
            b']' => What::ArrayEnd,
            b',' => What::Comma,
            b':' => What::Colon,
            // A zero ends the text wherever it stands.
            0 => return Ok(Token { what: What::End, at }),
            _ => {
                let what = self.longer();
                // Of a string the error's place is where it was noticed.
                let at = if matches!(what, What::Wrong(_)) { self.at } else { at };
                return Ok(Token { what, at });
            }
        };
        self.at += 1;
        Ok(Token { what: single, at })
    }

    fn longer(&mut self) -> What {
        let rest = &self.text[self.at..];
        let invalid = self.settings.decode_invalid;
        match rest[0] {
            b'"' => self.string(),
            b'-' | b'0'..=b'9' if !invalid && is_invalid_number(rest) => What::Wrong("invalid number"),
            b'-' | b'0'..=b'9' => self.number(),
            _ if rest.starts_with(b"true") => self.word(4, What::Boolean(true)),
            _ if rest.starts_with(b"false") => self.word(5, What::Boolean(false)),
            _ if rest.starts_with(b"null") => self.word(4, What::Null),
            _ if invalid && is_invalid_number(rest) => self.number(),
            _ => What::Wrong("invalid token"),
        }
    }

    fn word(&mut self, len: usize, what: What) -> What {
        self.at += len;
        what
    }

    fn number(&mut self) -> What {
        match leading_number(&self.text[self.at..]) {
            Some((x, len)) => self.word(len, What::Number(x)),
            None => What::Wrong("invalid number"),
        }
    }

    fn string(&mut self) -> What {
        let mut out = Vec::new();
        self.at += 1;
        loop {
            match self.byte(self.at) {
                b'"' => {
                    self.at += 1;
                    return What::String(out);
                }
                0 => return What::Wrong("unexpected end of string"),
                b'\\' => {
                    let plain = match self.byte(self.at + 1) {
                        b @ (b'"' | b'\\' | b'/') => b,
                        b'b' => 8,
                        b't' => 9,
                        b'n' => 10,
                        b'f' => 12,
                        b'r' => 13,
                        b'u' => {
                            let Some((c, len)) = self.code_point() else {
                                return What::Wrong("invalid unicode escape code");
                            };
                            out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
                            self.at += len;
                            continue;
                        }
                        _ => return What::Wrong("invalid escape code"),
                    };
                    out.push(plain);
                    self.at += 2;
                }
                b => {
                    out.push(b);
                    self.at += 1;
                }
            }
        }
    }

    /// The character of `\uXXXX`, or of two of them that are a surrogate pair, and the length.
    fn code_point(&self) -> Option<(char, usize)> {
        let unit = |at: usize| -> Option<u32> {
            let digits = self.text.get(at..at + 6)?.strip_prefix(b"\\u")?;
            digits.iter().try_fold(0, |n, &d| Some(n * 16 + char::from(d).to_digit(16)?))
        };
        let first = unit(self.at)?;
        if first & 0xf800 != 0xd800 {
            return Some((char::from_u32(first)?, 6));
        }
        let second = unit(self.at + 6).filter(|n| n & 0xfc00 == 0xdc00)?;
        if first & 0x400 != 0 {
            return None;
        }
        Some((char::from_u32(0x10000 + ((first & 0x3ff) << 10) + (second & 0x3ff))?, 12))
    }

    fn value(&mut self, token: Token) -> Result<Value> {
        Ok(match token.what {
            What::String(s) => Value::String(self.lua.create_string(s)?),
            What::Number(x) => Value::Number(x),
            What::Boolean(b) => Value::Boolean(b),
            What::Null => Value::NULL,
            What::ObjectBegin => Value::Table(self.object()?),
            What::ArrayBegin => Value::Table(self.array()?),
            _ => return Err(self.unexpected("value", &token)),
        })
    }

    fn descend(&mut self) -> Result<()> {
        self.depth += 1;
        if i64::from(self.depth) > self.settings.decode_max_depth || self.depth > MAX_NESTING {
            let (depth, at) = (self.depth, self.at);
            let text = format!("Found too many nested data structures ({depth}) at character {at}");
            return Err(located(self.lua, text));
        }
        Ok(())
    }

    fn object(&mut self) -> Result<Table> {
        self.descend()?;
        let table = self.lua.create_table()?;
        let mut token = self.token()?;
        if !matches!(token.what, What::ObjectEnd) {
            loop {
                let What::String(key) = token.what else {
                    return Err(self.unexpected("object key string", &token));
                };
                let colon = self.token()?;
                if !matches!(colon.what, What::Colon) {
                    return Err(self.unexpected("colon", &colon));
                }
                let first = self.token()?;
                let value = self.value(first)?;
                table.raw_set(self.lua.create_string(key)?, value)?;
                let behind = self.token()?;
                match behind.what {
                    What::ObjectEnd => break,
                    What::Comma => token = self.token()?,
                    _ => return Err(self.unexpected("comma or object end", &behind)),
                }
            }
        }
        self.depth -= 1;
        Ok(table)
    }

    fn array(&mut self) -> Result<Table> {
        self.descend()?;
        let table = self.lua.create_table()?;
        let mut token = self.token()?;
        if !matches!(token.what, What::ArrayEnd) {
            for i in 1i64.. {
                let value = self.value(token)?;
                table.raw_set(i, value)?;
                let behind = self.token()?;
                match behind.what {
                    What::ArrayEnd => break,
                    What::Comma => token = self.token()?,
                    _ => return Err(self.unexpected("comma or array end", &behind)),
                }
            }
        }
        self.depth -= 1;
        Ok(table)
    }
}

/// Numbers that C reads and JSON does not have: hexadecimal, with leading zeros, infinite, none.
fn is_invalid_number(text: &[u8]) -> bool {
    if text[0] == b'+' {
        return true;
    }
    let text = text.strip_prefix(b"-").unwrap_or(text);
    match text {
        [b'0', next, ..] => next.is_ascii_digit() || next.eq_ignore_ascii_case(&b'x'),
        [b'0'..=b'9', ..] => false,
        [a, b, c, ..] => {
            let word = [*a, *b, *c].map(|b| b.to_ascii_lowercase());
            &word == b"inf" || &word == b"nan"
        }
        _ => false,
    }
}

/// The number at the front, as C's `strtod` reads it, and its length.
fn leading_number(text: &[u8]) -> Option<(f64, usize)> {
    let sign = usize::from(matches!(text.first(), Some(b'-' | b'+')));
    let negative = text.first() == Some(&b'-');
    let signed = |x: f64| if negative { -x } else { x };
    let body = &text[sign..];
    let starts = |word: &str| body.get(..word.len()).is_some_and(|b| b.eq_ignore_ascii_case(word.as_bytes()));
    if let Some(word) = ["infinity", "inf"].into_iter().find(|w| starts(w)) {
        return Some((signed(f64::INFINITY), sign + word.len()));
    }
    if starts("nan") {
        return Some((f64::NAN, sign + 3));
    }
    let digits = |from: usize, radix: u32| {
        body[from.min(body.len())..].iter().take_while(|&&b| char::from(b).is_digit(radix)).count()
    };
    if starts("0x") && digits(2, 16) > 0 {
        let n = digits(2, 16);
        let value = body[2..2 + n]
            .iter()
            .fold(0.0, |x, &b| x * 16.0 + f64::from(char::from(b).to_digit(16).unwrap_or(0)));
        return Some((signed(value), sign + 2 + n));
    }
    let whole = digits(0, 10);
    let mut len = whole;
    if body.get(len) == Some(&b'.') {
        let fraction = digits(len + 1, 10);
        if whole + fraction > 0 {
            len += 1 + fraction;
        }
    }
    if len == 0 {
        return None;
    }
    if matches!(body.get(len), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(body.get(len + 1), Some(b'-' | b'+')));
        let exponent = digits(len + 1 + sign, 10);
        if exponent > 0 {
            len += 1 + sign + exponent;
        }
    }
    Some((signed(parse_float_lossy(&body[..len])?), sign + len))
}
