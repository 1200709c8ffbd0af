//! Redis' RDB files: what a dataset looks like on disk, in a full resync, and value by value in DUMP payloads.
//!
//! Written is version 10 with value types up to 19, which every Redis 7 and Valkey reads. Read is every version up to
//! 11 (Redis 7.2) with all value types but modules', which are refused by name. Nothing here knows of
//! servers, connections or policies; input is hostile until proven whole: it can cause an [`Error`] and no more.

pub mod crc64;
pub mod decode;
pub mod dump;
pub mod encode;
pub mod functions;
mod input;
mod lzf;
mod packed;
mod stream;
mod value;

/// The version that is written.
pub const VERSION: u16 = 10;
/// The latest version that is read.
pub const MAX_VERSION: u16 = 11;

const MAGIC: &[u8; 5] = b"REDIS";

// Marks between entries.
const OP_SLOT_INFO: u8 = 244;
const OP_FUNCTION: u8 = 245;
const OP_FUNCTION_DRAFT: u8 = 246;
const OP_MODULE_AUX: u8 = 247;
const OP_IDLE: u8 = 248;
const OP_FREQ: u8 = 249;
const OP_AUX: u8 = 250;
const OP_RESIZE_DB: u8 = 251;
const OP_EXPIRE_MS: u8 = 252;
const OP_EXPIRE_S: u8 = 253;
const OP_SELECT_DB: u8 = 254;
const OP_EOF: u8 = 255;

// Types of values.
const T_STRING: u8 = 0;
const T_LIST: u8 = 1;
const T_SET: u8 = 2;
const T_ZSET: u8 = 3;
const T_HASH: u8 = 4;
const T_ZSET_2: u8 = 5;
const T_MODULE_DRAFT: u8 = 6;
const T_MODULE: u8 = 7;
const T_HASH_ZIPMAP: u8 = 9;
const T_LIST_ZIPLIST: u8 = 10;
const T_SET_INTSET: u8 = 11;
const T_ZSET_ZIPLIST: u8 = 12;
const T_HASH_ZIPLIST: u8 = 13;
const T_LIST_QUICKLIST: u8 = 14;
const T_STREAM: u8 = 15;
const T_HASH_LISTPACK: u8 = 16;
const T_ZSET_LISTPACK: u8 = 17;
const T_LIST_QUICKLIST_2: u8 = 18;
const T_STREAM_2: u8 = 19;
const T_SET_LISTPACK: u8 = 20;
const T_STREAM_3: u8 = 21;

// First bytes of long lengths.
const LEN_32: u8 = 0x80;
const LEN_64: u8 = 0x81;

// Strings that are not a length and bytes.
const ENC_INT8: u8 = 0;
const ENC_INT16: u8 = 1;
const ENC_INT32: u8 = 2;
const ENC_LZF: u8 = 3;

/// What is known of a key besides its value.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Meta {
    /// When it expires, milliseconds since the Unix epoch.
    pub expire_at_ms: Option<i64>,
    /// For how long it had not been used, seconds (kept by an LRU `maxmemory-policy`).
    pub idle_s: Option<u64>,
    /// How often it is used, as a logarithmic counter (kept by an LFU `maxmemory-policy`).
    pub freq: Option<u8>,
}

/// Why reading stopped, and where.
#[derive(Debug, thiserror::Error)]
#[error("{kind} (at byte {offset})")]
pub struct Error {
    /// Bytes consumed when it was noticed.
    pub offset: u64,
    /// What it was.
    #[source]
    pub kind: ErrorKind,
}

/// Kinds of [`Error`].
#[derive(Debug, thiserror::Error)]
pub enum ErrorKind {
    /// The source failed.
    #[error("cannot read: {0}")]
    Io(#[from] std::io::Error),
    /// The data ends too early.
    #[error("unexpected end of data")]
    Truncated,
    /// The data does not start like an RDB file.
    #[error("wrong signature: this is not an RDB file")]
    NotRdb,
    /// A version that is not known here.
    #[error("cannot handle RDB format version {0}")]
    Version(u32),
    /// The checksum at the end differs.
    #[error("RDB CRC error: {stored:#018x} is stored, the data has {computed:#018x}")]
    Checksum {
        /// What the data says.
        stored: u64,
        /// What it is.
        computed: u64,
    },
    /// The data contradicts itself.
    #[error("corrupt data: {0}")]
    Corrupt(String),
    /// The data is sound as far as can be told, but there is no place for it here.
    #[error("{0}")]
    Unsupported(String),
}

#[cfg(test)]
mod tests;
