//! What arguments commands take, as `COMMAND DOCS` tells and as the client's hints show. The facts stand in
//! `arguments.txt`, one line for a command (a subcommand's is `container|name`), one word for an argument:
//!
//! ```text
//! name/type[#KEYSPEC][=TOKEN][!DEPRECATED][^SINCE][?][*|**][(arguments)]
//! ```
//!
//! `?`: may be left out. `*`: may be repeated, `**`: its token too. Parentheses hold the parts of a `block`, or the
//! choices of a `oneof`. Names and tokens with other characters than letters, digits and `_.:-` are in quotes.

use crate::resp::writer::Reply;

const TEXT: &str = include_str!("arguments.txt");

/// One argument of a command (<https://redis.io/docs/latest/commands/command-docs/>).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Argument {
    /// Its name.
    pub name: &'static str,
    /// `string`, `integer`, `double`, `key`, `pattern`, `unix-time`, `pure-token`, `oneof` or `block`.
    pub kind: &'static str,
    /// Index of the key specification that finds it.
    pub key_spec: Option<u32>,
    /// The literal word before it, or the whole of a `pure-token`.
    pub token: Option<&'static str>,
    /// Version since which one should not use it.
    pub deprecated: Option<&'static str>,
    /// Version that introduced it, where that is not the command's.
    pub since: Option<&'static str>,
    /// It may be left out.
    pub optional: bool,
    /// It may be repeated.
    pub multiple: bool,
    /// Its token is repeated with it.
    pub multiple_token: bool,
    /// Parts of a block, choices of a oneof.
    pub parts: Vec<Argument>,
}

/// The arguments of a command; `name` as in the command table.
pub fn of(name: &str) -> Vec<Argument> {
    TEXT.lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))
        .map_or_else(Vec::new, |words| list(&mut Words(words)))
}

/// What is left of a line.
struct Words(&'static str);

impl Words {
    fn take(&mut self, mark: char) -> bool {
        let rest = self.0.strip_prefix(mark);
        self.0 = rest.unwrap_or(self.0);
        rest.is_some()
    }

    fn word(&mut self) -> &'static str {
        let quoted = self.take('"');
        let ends = |c: char| match quoted {
            true => c == '"',
            false => !c.is_ascii_alphanumeric() && !"_.:-".contains(c),
        };
        let (word, rest) = self.0.split_at(self.0.find(ends).unwrap_or(self.0.len()));
        self.0 = if quoted { rest.strip_prefix('"').unwrap_or(rest) } else { rest };
        word
    }

    fn after(&mut self, mark: char) -> Option<&'static str> {
        self.take(mark).then(|| self.word())
    }
}

fn list(words: &mut Words) -> Vec<Argument> {
    let mut all = vec![argument(words)];
    while words.take(' ') {
        all.push(argument(words));
    }
    all
}

fn argument(words: &mut Words) -> Argument {
    let name = words.word();
    let kind = words.after('/').unwrap_or_default();
    let key_spec = words.after('#').and_then(|n| n.parse().ok());
    let token = words.after('=');
    let (deprecated, since) = (words.after('!'), words.after('^'));
    let (optional, multiple) = (words.take('?'), words.take('*'));
    let multiple_token = multiple && words.take('*');
    let mut parts = Vec::new();
    if words.take('(') {
        parts = list(words);
        words.take(')');
    }
    Argument { name, kind, key_spec, token, deprecated, since, optional, multiple, multiple_token, parts }
}

/// Writes them as `COMMAND DOCS` shows them.
pub fn reply(reply: &mut Reply<'_>, arguments: &[Argument]) {
    reply.array(arguments.len());
    for a in arguments {
        let flags: Vec<&str> =
            [("optional", a.optional), ("multiple", a.multiple), ("multiple_token", a.multiple_token)]
                .into_iter()
                .filter_map(|(name, set)| set.then_some(name))
                .collect();
        let texts = [("token", a.token), ("since", a.since), ("deprecated_since", a.deprecated)];
        let extra = usize::from(a.key_spec.is_some())
            + texts.iter().filter(|(_, text)| text.is_some()).count()
            + usize::from(!flags.is_empty())
            + usize::from(!a.parts.is_empty());
        reply.map(2 + extra);
        for (name, text) in [("name", a.name), ("type", a.kind)] {
            reply.bulk(name.as_bytes());
            reply.bulk(text.as_bytes());
        }
        if let Some(n) = a.key_spec {
            reply.bulk(b"key_spec_index");
            reply.int(n.into());
        }
        for (name, text) in texts {
            if let Some(text) = text {
                reply.bulk(name.as_bytes());
                reply.bulk(text.as_bytes());
            }
        }
        if !flags.is_empty() {
            reply.bulk(b"flags");
            reply.set(flags.len());
            flags.iter().for_each(|flag| reply.simple(flag));
        }
        if !a.parts.is_empty() {
            reply.bulk(b"arguments");
            self::reply(reply, &a.parts);
        }
    }
}

/// The arguments as people write a command's form: `key value [NX | XX] [EX seconds | PX milliseconds]`.
pub fn form(arguments: &[Argument]) -> String {
    arguments.iter().map(one).collect::<Vec<_>>().join(" ")
}

fn one(a: &Argument) -> String {
    let token = a.token.map(|token| if token.is_empty() { "\"\"" } else { token });
    let inner = match a.kind {
        "pure-token" => String::new(),
        "oneof" => a.parts.iter().map(one).collect::<Vec<_>>().join("|"),
        "block" => form(&a.parts),
        _ => a.name.to_owned(),
    };
    let mut text = [token.unwrap_or_default(), &inner]
        .into_iter()
        .filter(|t| !t.is_empty())
        .collect::<Vec<_>>()
        .join(" ");
    if a.multiple {
        let again = if a.multiple_token { &text } else { &inner };
        text = format!("{text} [{again} ...]");
    }
    match (a.optional, a.kind) {
        (true, _) => format!("[{text}]"),
        (false, "oneof") => format!("<{text}>"),
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(a: &Argument) -> String {
        let plain = |c: char| c.is_ascii_alphanumeric() || "_.:-".contains(c);
        let quoted = |t: &str| match !t.is_empty() && t.chars().all(plain) {
            true => t.to_owned(),
            false => format!("\"{t}\""),
        };
        let mut out = format!("{}/{}", quoted(a.name), a.kind);
        for (mark, word) in [('#', a.key_spec.map(|n| n.to_string())), ('=', a.token.map(quoted))] {
            word.iter().for_each(|word| out.push_str(&format!("{mark}{word}")));
        }
        for (mark, word) in [('!', a.deprecated), ('^', a.since)] {
            word.iter().for_each(|word| out.push_str(&format!("{mark}{word}")));
        }
        out.push_str(if a.optional { "?" } else { "" });
        out.push_str(match (a.multiple, a.multiple_token) {
            (true, true) => "**",
            (true, false) => "*",
            _ => "",
        });
        if !a.parts.is_empty() {
            out.push_str(&format!("({})", a.parts.iter().map(text).collect::<Vec<_>>().join(" ")));
        }
        out
    }

    #[test]
    fn every_line_is_read_whole() {
        assert!(TEXT.lines().count() > 200);
        for line in TEXT.lines() {
            let (name, words) = line.split_once(' ').unwrap();
            let all = of(name);
            assert_eq!(all.iter().map(text).collect::<Vec<_>>().join(" "), words);
        }
    }

    #[test]
    fn forms_for_people() {
        assert_eq!(form(&of("get")), "key");
        assert_eq!(form(&of("mset")), "key value [key value ...]");
        assert_eq!(
            form(&of("zrange")),
            "key start stop [BYSCORE|BYLEX] [REV] [LIMIT offset count] [WITHSCORES]"
        );
        assert_eq!(form(&of("lmpop")), "numkeys key [key ...] <LEFT|RIGHT> [COUNT count]");
        assert_eq!(form(&of("ping")), "[message]");
        assert_eq!(form(&of("no such")), "");
    }
}
