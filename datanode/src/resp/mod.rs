//! The Redis serialization protocol, RESP2 and RESP3 (<https://redis.io/docs/latest/develop/reference/protocol-spec/>):
//! requests as a server reads them, replies as it writes them, and replies as a client reads them.

pub mod parse;
pub mod reader;
pub mod writer;

/// Writes a command as a RESP array of bulk strings, the form in which it travels to a server, a replica or the AOF.
pub fn encode_command<A: AsRef<[u8]>>(out: &mut Vec<u8>, args: &[A]) {
    writer::array_len(out, args.len());
    for a in args {
        writer::bulk(out, a.as_ref());
    }
}
