//! How the client prints replies: for people, raw, as CSV, and as JSON; in redis-cli's forms.

use crate::config::value::quote;
use crate::resp::reader::Value;

/// A way to print replies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Typed and numbered, for people.
    Pretty,
    /// The bytes alone.
    Raw,
    /// Comma-separated values.
    Csv,
    /// JSON; bytes that are not printable ASCII as escapes where `ascii`.
    Json {
        /// Strings hold escapes rather than the bytes themselves.
        ascii: bool,
    },
}

/// A reply as the client prints it, up to and without the delimiter between replies. `within` stands between the
/// elements of a raw reply.
pub fn text(reply: &Value, form: Form, within: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    match form {
        Form::Pretty => pretty(&mut out, reply, ""),
        Form::Raw => raw(&mut out, reply, within),
        Form::Csv => csv(&mut out, reply),
        Form::Json { ascii } => json(&mut out, reply, ascii),
    }
    out
}

fn pretty(out: &mut Vec<u8>, reply: &Value, indent: &str) {
    match reply {
        Value::Error(text) => line(out, &format!("(error) {text}")),
        Value::Simple(text) => line(out, text),
        Value::Int(n) => line(out, &format!("(integer) {n}")),
        Value::Number(text) => line(out, &format!("(double) {text}")),
        Value::Bulk(bytes) => line(out, &quote(bytes)),
        Value::Verbatim(bytes) => {
            out.extend_from_slice(bytes);
            out.push(b'\n');
        }
        Value::Null => line(out, "(nil)"),
        Value::Bool(b) => line(out, if *b { "(true)" } else { "(false)" }),
        Value::Array(items) => numbered(out, items, indent, ')', "(empty array)"),
        Value::Set(items) => numbered(out, items, indent, '~', "(empty set)"),
        Value::Push(items) => numbered(out, items, indent, '|', "(empty push)"),
        Value::Map(pairs) => {
            if pairs.is_empty() {
                return line(out, "(empty hash)");
            }
            let width = pairs.len().to_string().len();
            let inner = format!("{indent}{}", " ".repeat(width + 2));
            for (i, (key, value)) in pairs.iter().enumerate() {
                head(out, i, width, indent, '#');
                pretty(out, key, &inner);
                out.pop();
                out.extend_from_slice(b" => ");
                if elements(value) > 1 {
                    out.push(b'\n');
                    out.extend_from_slice(inner.as_bytes());
                }
                pretty(out, value, &inner);
            }
        }
    }
}

fn elements(value: &Value) -> usize {
    match value {
        Value::Map(pairs) => pairs.len(),
        other => other.items().map_or(0, <[Value]>::len),
    }
}

fn line(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(text.as_bytes());
    out.push(b'\n');
}

fn head(out: &mut Vec<u8>, i: usize, width: usize, indent: &str, mark: char) {
    let indent = if i == 0 { "" } else { indent };
    out.extend_from_slice(format!("{indent}{:>width$}{mark} ", i + 1).as_bytes());
}

fn numbered(out: &mut Vec<u8>, items: &[Value], indent: &str, mark: char, empty: &str) {
    if items.is_empty() {
        return line(out, empty);
    }
    let width = items.len().to_string().len();
    let inner = format!("{indent}{}", " ".repeat(width + 2));
    for (i, item) in items.iter().enumerate() {
        head(out, i, width, indent, mark);
        pretty(out, item, &inner);
    }
}

fn raw(out: &mut Vec<u8>, reply: &Value, within: &[u8]) {
    match reply {
        Value::Null => {}
        Value::Error(text) => line(out, text),
        Value::Simple(text) | Value::Number(text) => out.extend_from_slice(text.as_bytes()),
        Value::Bulk(bytes) | Value::Verbatim(bytes) => out.extend_from_slice(bytes),
        Value::Int(n) => out.extend_from_slice(n.to_string().as_bytes()),
        Value::Bool(b) => out.extend_from_slice(if *b { b"(true)" } else { b"(false)" }),
        Value::Array(items) | Value::Set(items) | Value::Push(items) => {
            joined(out, items, within, |out, item| raw(out, item, within));
        }
        Value::Map(pairs) => joined(out, pairs, within, |out, (key, value)| {
            raw(out, key, within);
            out.push(b' ');
            raw(out, value, within);
        }),
    }
}

fn joined<T>(out: &mut Vec<u8>, items: &[T], between: &[u8], mut one: impl FnMut(&mut Vec<u8>, &T)) {
    for (i, item) in items.iter().enumerate() {
        if i > 0 {
            out.extend_from_slice(between);
        }
        one(out, item);
    }
}

fn csv(out: &mut Vec<u8>, reply: &Value) {
    match reply {
        Value::Error(text) => out.extend_from_slice(format!("ERROR,{}", quote(text.as_bytes())).as_bytes()),
        Value::Simple(text) => out.extend_from_slice(quote(text.as_bytes()).as_bytes()),
        Value::Bulk(bytes) | Value::Verbatim(bytes) => out.extend_from_slice(quote(bytes).as_bytes()),
        Value::Int(n) => out.extend_from_slice(n.to_string().as_bytes()),
        Value::Number(text) => out.extend_from_slice(text.as_bytes()),
        Value::Null => out.extend_from_slice(b"NULL"),
        Value::Bool(b) => out.extend_from_slice(b.to_string().as_bytes()),
        Value::Array(items) | Value::Set(items) | Value::Push(items) => joined(out, items, b",", csv),
        Value::Map(pairs) => joined(out, pairs, b",", |out, (key, value)| {
            csv(out, key);
            out.push(b',');
            csv(out, value);
        }),
    }
}

fn json(out: &mut Vec<u8>, reply: &Value, ascii: bool) {
    match reply {
        Value::Error(text) => {
            out.extend_from_slice(b"error:");
            json_string(out, text.as_bytes(), ascii);
        }
        Value::Simple(text) => json_string(out, text.as_bytes(), ascii),
        Value::Bulk(bytes) | Value::Verbatim(bytes) => json_string(out, bytes, ascii),
        Value::Int(n) => out.extend_from_slice(n.to_string().as_bytes()),
        Value::Number(text) => out.extend_from_slice(text.as_bytes()),
        Value::Null => out.extend_from_slice(b"null"),
        Value::Bool(b) => out.extend_from_slice(b.to_string().as_bytes()),
        Value::Array(items) | Value::Set(items) | Value::Push(items) => {
            out.push(b'[');
            joined(out, items, b",", |out, item| json(out, item, ascii));
            out.push(b']');
        }
        Value::Map(pairs) => {
            out.push(b'{');
            joined(out, pairs, b",", |out, (key, value)| {
                match key {
                    Value::Simple(_) | Value::Bulk(_) | Value::Verbatim(_) => json(out, key, ascii),
                    // A key must be a string in JSON.
                    other => {
                        out.push(b'"');
                        json(out, other, ascii);
                        out.push(b'"');
                    }
                }
                out.push(b':');
                json(out, value, ascii);
            });
            out.push(b'}');
        }
    }
}

fn json_string(out: &mut Vec<u8>, bytes: &[u8], ascii: bool) {
    if ascii {
        // The escapes are a text of their own within the string: each backslash of theirs is escaped in turn.
        let quoted = quote(bytes);
        let inner = quoted[1..quoted.len() - 1].replace('\\', "\\\\");
        return out.extend_from_slice(format!("\"{inner}\"").as_bytes());
    }
    out.push(b'"');
    for &b in bytes {
        match b {
            b'\\' | b'"' => out.extend_from_slice(&[b'\\', b]),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            8 => out.extend_from_slice(b"\\b"),
            12 => out.extend_from_slice(b"\\f"),
            0..=0x1f => out.extend_from_slice(format!("\\u{b:04x}").as_bytes()),
            _ => out.push(b),
        }
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(reply: &Value, form: Form) -> String {
        String::from_utf8(text(reply, form, b"\n")).unwrap()
    }

    #[test]
    fn nested_replies_for_people() {
        let bulk = |s: &str| Value::Bulk(s.into());
        let map = Value::Map(vec![
            (bulk("a"), Value::Map(vec![])),
            (bulk("b"), Value::Array(vec![Value::Int(1), Value::Int(2)])),
            (bulk("c"), Value::Set(vec![Value::Null])),
        ]);
        let expected = "1# \"a\" => (empty hash)\n2# \"b\" => \n   1) (integer) 1\n   2) (integer) 2\n3# \"c\" => 1~ (nil)\n";
        assert_eq!(shown(&map, Form::Pretty), expected);
        let ten = Value::Array((0..10).map(|_| Value::Array(vec![bulk("x"), bulk("y")])).collect());
        assert!(shown(&ten, Form::Pretty).starts_with(" 1) 1) \"x\"\n    2) \"y\"\n 2) 1) "));
    }

    #[test]
    fn other_forms() {
        let reply = Value::Map(vec![
            (Value::Int(1), Value::Bulk(b"a\n\"\x00".to_vec())),
            (Value::Null, Value::Bool(true)),
        ]);
        assert_eq!(shown(&reply, Form::Json { ascii: false }), "{\"1\":\"a\\n\\\"\\u0000\",\"null\":true}");
        assert_eq!(shown(&reply, Form::Csv), "1,\"a\\n\\\"\\x00\",NULL,true");
        assert_eq!(shown(&reply, Form::Raw), "1 a\n\"\0\n (true)");
    }
}
