//! What is wrong with a value or a whole configuration: checks of texts, and what this server does not do and must not
//! silently ignore.

use super::Config;

/// Any text is right.
pub fn nothing(_: &str) -> Result<(), &'static str> {
    Ok(())
}

fn is_base_name(text: &str) -> bool {
    !text.contains(['/', '\\'])
}

/// `dbfilename`.
pub fn db_filename(text: &str) -> Result<(), &'static str> {
    if is_base_name(text) { Ok(()) } else { Err("dbfilename can't be a path, just a filename") }
}

/// `appendfilename`.
pub fn append_filename(text: &str) -> Result<(), &'static str> {
    match text {
        "" => Err("appendfilename can't be empty"),
        _ if !is_base_name(text) => Err("appendfilename can't be a path, just a filename"),
        _ => Ok(()),
    }
}

/// `appenddirname`.
pub fn append_dirname(text: &str) -> Result<(), &'static str> {
    match text {
        "" => Err("appenddirname can't be empty"),
        _ if !is_base_name(text) => Err("appenddirname can't be a path, just a dirname"),
        _ => Ok(()),
    }
}

/// `cluster-announce-hostname`.
pub fn hostname(text: &str) -> Result<(), &'static str> {
    const MAX: usize = 256;
    if text.len() >= MAX {
        return Err("Hostnames must be less than 256 characters");
    }
    if !text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'.') {
        return Err("Hostnames may only contain alphanumeric characters, hyphens or dots");
    }
    Ok(())
}

/// `proc-title-template`: text with known variables in braces.
pub fn proc_title(text: &str) -> Result<(), &'static str> {
    const VARIABLES: [&str; 7] =
        ["title", "listen-addr", "server-mode", "port", "tls-port", "unixsocket", "config-file"];
    const INVALID: &str = "template format is invalid or contains unknown variables";
    if text.trim().is_empty() {
        return Err(INVALID);
    }
    let mut rest = text;
    while let Some(open) = rest.find('{') {
        let close = rest[open..].find('}').ok_or(INVALID)? + open;
        if !VARIABLES.contains(&&rest[open + 1..close]) {
            return Err(INVALID);
        }
        rest = &rest[close + 1..];
    }
    Ok(())
}

/// Settings that this server cannot carry out, and that would leave a client without the protection or the service it
/// was promised: name, whether it is asked for, and why not.
type Unsupported = (&'static str, fn(&Config) -> bool, &'static str);

const NO_TLS: &str = "TLS is not supported by this server";
const UNSUPPORTED: &[Unsupported] = &[
    ("tls-port", |c| c.tls_port != 0, NO_TLS),
    ("tls-replication", |c| c.tls_replication, NO_TLS),
    ("tls-cluster", |c| c.tls_cluster, NO_TLS),
    (
        "activedefrag",
        |c| c.activedefrag,
        "Active defragmentation cannot be enabled: it requires a Redis server compiled with a modified Jemalloc \
         like the one shipped by default with the Redis source distribution",
    ),
];

/// What a directive asks for that this server cannot do.
pub fn unsupported(config: &Config, directive: &str) -> Option<&'static str> {
    UNSUPPORTED.iter().find(|(name, asked, _)| *name == directive && asked(config)).map(|(.., why)| *why)
}

/// Directives that are right by themselves and contradict each other: the one to blame, and why.
pub fn contradiction(config: &Config) -> Option<(&'static str, &'static str)> {
    (config.write_ack_fsync && !config.appendonly).then_some((
        "write-ack-fsync",
        "write-ack-fsync waits for the append-only file: it needs appendonly yes",
    ))
}
