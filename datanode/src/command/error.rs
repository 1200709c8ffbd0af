//! Errors that commands reply with. Their texts are an interface: clients parse the first word.

use std::borrow::Cow;

/// An error reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Error {
    /// The key holds another type.
    WrongType,
    /// Options that do not fit together or are unknown.
    Syntax,
    /// Not an integer, or not in the range of 64 bits.
    NotInteger,
    /// Not a floating point number.
    NotFloat,
    /// The key must exist and does not.
    NoSuchKey,
    /// An index outside the value.
    IndexOutOfRange,
    /// A number outside its range.
    OutOfRange,
    /// Wrong number of arguments for the command of this name.
    Arity(&'static str),
    /// Any other, the whole text with its code.
    Text(Cow<'static, str>),
    /// The same, of an error that the statistics have already.
    Counted(String),
}

impl Error {
    /// An error with code `ERR`.
    pub fn err(text: impl std::fmt::Display) -> Error {
        Error::Text(Cow::Owned(format!("ERR {text}")))
    }

    /// The whole reply text, code first.
    pub fn text(&self) -> Cow<'static, str> {
        match self {
            Error::WrongType => "WRONGTYPE Operation against a key holding the wrong kind of value".into(),
            Error::Syntax => "ERR syntax error".into(),
            Error::NotInteger => "ERR value is not an integer or out of range".into(),
            Error::NotFloat => "ERR value is not a valid float".into(),
            Error::NoSuchKey => "ERR no such key".into(),
            Error::IndexOutOfRange => "ERR index out of range".into(),
            Error::OutOfRange => "ERR value is out of range".into(),
            Error::Arity(name) => format!("ERR wrong number of arguments for '{name}' command").into(),
            Error::Text(t) => t.clone(),
            Error::Counted(t) => t.clone().into(),
        }
    }

    /// The first word.
    pub fn code(&self) -> String {
        Error::code_of(&self.text()).to_owned()
    }

    /// The first word of an error's text; a text without a word near its start counts as `ERR`.
    pub fn code_of(text: &str) -> &str {
        const LONGEST: usize = 32;
        let end = text.bytes().take(LONGEST).position(|b| b == b' ');
        end.map_or("ERR", |end| &text[..end])
    }
}

impl From<&'static str> for Error {
    /// The whole text, code first.
    fn from(text: &'static str) -> Error {
        Error::Text(Cow::Borrowed(text))
    }
}
