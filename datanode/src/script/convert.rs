//! Replies of commands as Lua values, and Lua values as replies
//! (<https://redis.io/docs/latest/develop/interact/programmability/lua-api/#data-type-conversion>).

use super::raise::to_i64;
use super::stack::{Item, MOST_ELEMENTS, MOST_FIELDS, Place, Stack};
use crate::resp::parse::parse_i64;
use crate::resp::writer::Reply;

/// Tables nested deeper are not answered.
const MAX_DEPTH: usize = 1000;

/// Reads a reply that the server itself has written, of either protocol version.
pub struct Reader<'a> {
    /// The reply.
    pub bytes: &'a [u8],
}

impl<'a> Reader<'a> {
    fn line(&mut self) -> &'a [u8] {
        let end = self.bytes.iter().position(|&b| b == b'\r').unwrap_or(self.bytes.len());
        let (line, rest) = self.bytes.split_at(end);
        self.bytes = rest.get(2..).unwrap_or_default();
        line
    }

    fn take(&mut self, len: usize) -> &'a [u8] {
        let (part, rest) = self.bytes.split_at(len.min(self.bytes.len()));
        self.bytes = rest.get(2..).unwrap_or_default();
        part
    }

    /// Pushes the next value. The error is the text.
    pub fn push(&mut self, stack: &mut Stack) -> Result<(), &'static str> {
        let Some((&kind, rest)) = self.bytes.split_first() else {
            stack.push_nil();
            return Ok(());
        };
        self.bytes = rest;
        let head = self.line();
        let number = || parse_i64(head).unwrap_or(0);
        match kind {
            b':' => stack.push_number(number() as f64),
            b'$' => match usize::try_from(number()) {
                Ok(len) => stack.push_text(self.take(len)),
                Err(_) => stack.push_boolean(false),
            },
            b'*' => match usize::try_from(number()) {
                Ok(len) => self.push_array(stack, len)?,
                Err(_) => stack.push_boolean(false),
            },
            b'+' => single(stack, b"ok", |stack| stack.push_text(head)),
            b'-' => push_error(stack, head, true),
            b'#' => stack.push_boolean(head == b"t"),
            b',' => {
                let x = std::str::from_utf8(head).ok().and_then(|s| s.parse().ok()).unwrap_or(f64::NAN);
                single(stack, b"double", |stack| stack.push_number(x));
            }
            b'(' => single(stack, b"big_number", |stack| stack.push_text(head)),
            b'=' => {
                let text = self.take(number() as usize);
                let (format, text) = text.split_at(text.len().min(4));
                let parts = [(&b"format"[..], &format[..format.len().min(3)]), (b"string", text)];
                single(stack, b"verbatim_string", |stack| push_texts_by_name(stack, parts));
            }
            b'%' => single(stack, b"map", |stack| self.push_fields(stack, number(), true))?,
            b'~' => single(stack, b"set", |stack| self.push_fields(stack, number(), false))?,
            // An attribute stands before the reply that it says something about.
            b'|' => {
                let top = stack.top();
                for _ in 0..2 * number() {
                    self.push(stack)?;
                    stack.truncate(top);
                }
                self.push(stack)?;
            }
            // A null, and what no command replies to a script.
            _ => stack.push_nil(),
        }
        Ok(())
    }

    fn push_array(&mut self, stack: &mut Stack, len: usize) -> Result<(), &'static str> {
        if len > MOST_ELEMENTS {
            return Err(TOO_LARGE);
        }
        stack.push_table(len, 0);
        let table = stack.top();
        for i in 1..=len {
            self.push(stack)?;
            stack.set_element(table, i);
        }
        Ok(())
    }

    /// Pushes a table of keys and their values or, of a set, `true`.
    fn push_fields(&mut self, stack: &mut Stack, count: i64, values: bool) -> Result<(), &'static str> {
        let count = usize::try_from(count).unwrap_or(0);
        if count > MOST_FIELDS {
            return Err(TOO_LARGE);
        }
        // It grows as Redis' does: so its keys have the same order.
        stack.push_table(0, 0);
        let table = stack.top();
        for _ in 0..count {
            self.push(stack)?;
            match values {
                true => self.push(stack)?,
                false => stack.push_boolean(true),
            }
            stack.set(table);
        }
        Ok(())
    }
}

const TOO_LARGE: &str = "ERR the reply has more elements than a Lua table";

/// Pushes a table with one field.
fn single<R>(stack: &mut Stack, name: &[u8], push: impl FnOnce(&mut Stack) -> R) -> R {
    stack.push_table(0, 1);
    let table = stack.top();
    stack.push_text(name);
    let pushed = push(stack);
    stack.set(table);
    pushed
}

fn push_texts_by_name(stack: &mut Stack, texts: [(&[u8], &[u8]); 2]) {
    stack.push_table(0, 0);
    let table = stack.top();
    for (name, text) in texts {
        stack.push_text(name);
        stack.push_text(text);
        stack.set(table);
    }
}

/// Pushes what a script finds in the place of an error; `counted`: the statistics of errors have it already.
pub fn push_error(stack: &mut Stack, text: &[u8], counted: bool) {
    stack.push_table(0, 0);
    let table = stack.top();
    stack.push_text(ERR);
    stack.push_text(text);
    stack.set(table);
    if counted {
        stack.push_text(COUNTED);
        stack.push_boolean(true);
        stack.set(table);
    }
}

const ERR: &[u8] = b"err";
/// Of an error: the statistics have it already.
const COUNTED: &[u8] = b"ignore_error_stats_update";

/// Writes what a script has returned.
pub struct Writer<'a, 'b> {
    /// The client's reply.
    pub reply: &'a mut Reply<'b>,
    /// The version that the script has set.
    pub proto: u8,
    /// Errors that were returned and are not in the statistics yet.
    pub errors: Vec<String>,
}

impl Writer<'_, '_> {
    /// Writes the value at a place.
    pub fn value(&mut self, stack: &mut Stack, at: Place, depth: usize) {
        match stack.item(at) {
            Item::Text(text) => self.reply.bulk(text),
            Item::Number(x) => self.reply.int(to_i64(x)),
            Item::Boolean(b) if self.proto >= 3 => self.reply.bool(b),
            Item::Boolean(true) => self.reply.int(1),
            Item::Table if depth >= MAX_DEPTH => {
                self.errors.push("ERR reached lua stack limit".into());
                self.reply.error("ERR reached lua stack limit");
            }
            Item::Table => {
                let top = stack.top();
                self.table(stack, at, depth + 1);
                stack.truncate(top);
            }
            Item::Boolean(false) | Item::Nil | Item::Other => self.reply.null(),
        }
    }

    /// Writes a table; what it pushes is left on the stack.
    fn table(&mut self, stack: &mut Stack, table: Place, depth: usize) {
        let field = stack.top() + 1;
        let look = |stack: &mut Stack, name: &[u8]| {
            stack.truncate(field - 1);
            stack.push_field(table, name);
        };
        look(stack, ERR);
        if let Item::Text(text) = stack.item(field) {
            let text = String::from_utf8_lossy(text).replace(['\r', '\n'], " ");
            stack.push_field(table, COUNTED);
            if matches!(stack.item(field + 1), Item::Nil | Item::Boolean(false)) {
                self.errors.push(text.clone());
            }
            return self.reply.error(&text);
        }
        look(stack, b"ok");
        if let Item::Text(text) = stack.item(field) {
            return self.line(b'+', text);
        }
        look(stack, b"double");
        if let Item::Number(x) = stack.item(field) {
            return self.reply.double(x);
        }
        look(stack, b"map");
        if stack.item(field) == Item::Table {
            self.reply.map(pairs(stack, field));
            return self.each_pair(stack, field, depth, true);
        }
        look(stack, b"set");
        if stack.item(field) == Item::Table {
            self.reply.set(pairs(stack, field));
            return self.each_pair(stack, field, depth, false);
        }
        look(stack, b"big_number");
        if let Item::Text(digits) = stack.item(field) {
            return match self.reply.resp3() {
                true => self.line(b'(', digits),
                false => self.reply.bulk(&one_line(digits)),
            };
        }
        look(stack, b"verbatim_string");
        if stack.item(field) == Item::Table {
            stack.push_field(field, b"format");
            stack.push_field(field, b"string");
            if let (Item::Text(format), Item::Text(text)) = (stack.item(field + 1), stack.item(field + 2)) {
                return self.verbatim(format, text);
            }
        }
        stack.truncate(field - 1);
        // How many there are is known only at the end; most arrays have no holes.
        let len = stack.len(table);
        let start = self.reply.out.len();
        self.reply.array(len);
        for i in 1..=len {
            stack.push_element(table, i);
            if stack.item(field) == Item::Nil {
                return self.array_up_to(stack, table, i - 1, start, depth);
            }
            self.value(stack, field, depth);
            stack.truncate(field - 1);
        }
    }

    /// Writes an array again that ends at a hole.
    fn array_up_to(&mut self, stack: &mut Stack, table: Place, len: usize, start: usize, depth: usize) {
        self.reply.out.truncate(start);
        self.reply.array(len);
        for i in 1..=len {
            stack.push_element(table, i);
            let element = stack.top();
            self.value(stack, element, depth);
            stack.truncate(element - 1);
        }
    }

    /// Writes the keys of a table, each with its value if `values`.
    fn each_pair(&mut self, stack: &mut Stack, table: Place, depth: usize, values: bool) {
        stack.push_nil();
        let key = stack.top();
        while stack.next(table) {
            self.value(stack, key, depth);
            if values {
                self.value(stack, key + 1, depth);
            }
            stack.truncate(key);
        }
    }

    /// A line of its own kind; what would end it early is replaced.
    fn line(&mut self, kind: u8, text: &[u8]) {
        self.reply.out.push(kind);
        self.reply.out.extend(one_line(text));
        self.reply.out.extend_from_slice(b"\r\n");
    }

    fn verbatim(&mut self, format: &[u8], text: &[u8]) {
        if !self.reply.resp3() {
            return self.reply.bulk(text);
        }
        // The format has three letters, whatever was given.
        let mut letters = [b' '; 3];
        let n = format.len().min(3);
        letters[..n].copy_from_slice(&format[..n]);
        self.reply.out.extend_from_slice(format!("={}\r\n", text.len() + 4).as_bytes());
        self.reply.out.extend_from_slice(&letters);
        self.reply.out.push(b':');
        self.reply.out.extend_from_slice(text);
        self.reply.out.extend_from_slice(b"\r\n");
    }
}

/// Number of pairs of the table at a place.
fn pairs(stack: &mut Stack, table: Place) -> usize {
    let mut count = 0;
    stack.push_nil();
    let key = stack.top();
    while stack.next(table) {
        count += 1;
        stack.truncate(key);
    }
    count
}

/// A text with blanks in the place of what would end a line.
fn one_line(text: &[u8]) -> Vec<u8> {
    text.iter().map(|&b| if b == b'\r' || b == b'\n' { b' ' } else { b }).collect()
}
