//! Reads an RDB file from a stream, event by event, so that the reader decides what to do with each and how much to do
//! at a time. Memory grows only as bytes really arrive. The checksum is verified before [`Event::End`] is given: until
//! then nothing that has been read may replace other data.

use std::io::{self, Read};

use super::input::Input;
use super::*;
use crate::store::limits::Limits;
use crate::store::value::Value;

/// The first version that ends in a checksum.
const FIRST_WITH_CHECKSUM: u32 = 5;

/// What to do with keys whose time to live has passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expired {
    /// Give them, as on a replica (its master decides), and in the base of an AOF (whose commands may refer to them).
    Keep,
    /// Leave them out, as a master does.
    Skip {
        /// The time, milliseconds since the Unix epoch.
        now_ms: i64,
    },
}

/// A piece of a file.
pub enum Event {
    /// What the file says about itself. Unknown names are to be ignored.
    Aux(Vec<u8>, Vec<u8>),
    /// What follows belongs to this database.
    SelectDb(u32),
    /// About how many keys the present database has, and how many of them expire. Not to be trusted.
    ResizeDb(u64, u64),
    /// The text of a library of functions (Redis 7).
    Function(Vec<u8>),
    /// A key.
    Entry(Box<Entry>),
    /// The whole file has been read.
    End(Checksum),
}

/// A key with all that belongs to it.
pub struct Entry {
    /// The database.
    pub db: u32,
    /// The key.
    pub key: Vec<u8>,
    /// Its value: never an empty collection.
    pub value: Value,
    /// What else is known of it.
    pub meta: Meta,
}

/// What is known of a file's integrity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Checksum {
    /// It is as it was written.
    Verified,
    /// It was written with checksums switched off.
    Disabled,
    /// Its version has none.
    None,
}

/// What has been read so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Keys, those left out included.
    pub keys: u64,
    /// Keys that expire.
    pub expires: u64,
    /// Keys that were left out because they had expired.
    pub expired: u64,
    /// Keys that were left out because their collection has no elements.
    pub empty: u64,
    /// Pieces of modules' data that were skipped.
    pub module_aux: u64,
}

/// Reads one file.
pub struct Decoder<R> {
    input: Input<R>,
    limits: Limits,
    expired: Expired,
    /// None before the header.
    version: Option<u32>,
    db: u32,
    counts: Counts,
    /// Databases and keys left out because they had expired, since they were last asked for.
    left_out: Vec<(u32, Vec<u8>)>,
}

impl<R: Read> Decoder<R> {
    /// Reads from the start of `inner`; collections get their encodings by `limits`.
    pub fn new(inner: R, limits: Limits, expired: Expired) -> Self {
        let (input, counts) = (Input::new(inner), Counts::default());
        Decoder { input, limits, expired, version: None, db: 0, counts, left_out: Vec::new() }
    }

    /// Bytes read so far.
    pub fn offset(&self) -> u64 {
        self.input.offset()
    }

    /// What has been read so far.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Databases and keys that have been left out since the last call because they had expired.
    pub fn take_left_out(&mut self) -> Vec<(u32, Vec<u8>)> {
        std::mem::take(&mut self.left_out)
    }

    /// What follows the file, after [`Event::End`]: the commands of an AOF whose preamble it was.
    pub fn into_rest(self) -> io::Chain<io::Cursor<Vec<u8>>, R> {
        self.input.into_rest()
    }

    /// The next event. After an error or [`Event::End`] there is none.
    pub fn next_event(&mut self) -> Result<Event, Error> {
        let version = match self.version {
            Some(version) => version,
            None => self.header()?,
        };
        let mut meta = Meta::default();
        loop {
            match self.input.u8()? {
                OP_AUX => return Ok(Event::Aux(self.input.string()?, self.input.string()?)),
                OP_SELECT_DB => {
                    let db = self.input.len()?;
                    self.db = u32::try_from(db).map_err(|_| self.input.corrupt(format!("database {db}")))?;
                    return Ok(Event::SelectDb(self.db));
                }
                OP_RESIZE_DB => return Ok(Event::ResizeDb(self.input.len()?, self.input.len()?)),
                OP_EXPIRE_MS => meta.expire_at_ms = Some(i64::from_le_bytes(self.input.array()?)),
                OP_EXPIRE_S => {
                    let seconds = i32::from_le_bytes(self.input.array()?);
                    meta.expire_at_ms = Some(i64::from(seconds) * 1000);
                }
                OP_FREQ => meta.freq = Some(self.input.u8()?),
                OP_IDLE => meta.idle_s = Some(self.input.len()?),
                OP_FUNCTION => return Ok(Event::Function(self.input.string()?)),
                OP_FUNCTION_DRAFT => {
                    let text = "functions of a pre-release of Redis 7.0 cannot be read";
                    return Err(self.input.error(ErrorKind::Unsupported(text.into())));
                }
                OP_MODULE_AUX => {
                    self.input.len()?;
                    value::skip_module_data(&mut self.input)?;
                    self.counts.module_aux += 1;
                }
                // Slot, number of keys, number of keys that expire: a hint, as for databases.
                OP_SLOT_INFO => {
                    for _ in 0..3 {
                        self.input.len()?;
                    }
                }
                OP_EOF => return self.end(version),
                kind => {
                    if let Some(entry) = self.entry(kind, std::mem::take(&mut meta))? {
                        return Ok(Event::Entry(Box::new(entry)));
                    }
                }
            }
        }
    }

    fn header(&mut self) -> Result<u32, Error> {
        let head: [u8; 9] = self.input.array()?;
        let version = head.strip_prefix(MAGIC).filter(|v| v.iter().all(u8::is_ascii_digit));
        let Some(version) = version.and_then(|v| std::str::from_utf8(v).ok()?.parse().ok()) else {
            return Err(self.input.error(ErrorKind::NotRdb));
        };
        if !(1..=u32::from(MAX_VERSION)).contains(&version) {
            return Err(self.input.error(ErrorKind::Version(version)));
        }
        self.version = Some(version);
        Ok(version)
    }

    fn entry(&mut self, kind: u8, meta: Meta) -> Result<Option<Entry>, Error> {
        let key = self.input.string()?;
        let value = value::read(&mut self.input, kind, &self.limits)?;
        self.counts.keys += 1;
        self.counts.expires += u64::from(meta.expire_at_ms.is_some());
        // Redis once wrote such keys by mistake, and leaves them out when it reads them.
        if value.is_void() {
            self.counts.empty += 1;
            return Ok(None);
        }
        if let (Expired::Skip { now_ms }, Some(at)) = (self.expired, meta.expire_at_ms)
            && at < now_ms
        {
            self.counts.expired += 1;
            self.left_out.push((self.db, key));
            return Ok(None);
        }
        Ok(Some(Entry { db: self.db, key, value, meta }))
    }

    fn end(&mut self, version: u32) -> Result<Event, Error> {
        if version < FIRST_WITH_CHECKSUM {
            return Ok(Event::End(Checksum::None));
        }
        let computed = self.input.checksum();
        match u64::from_le_bytes(self.input.array()?) {
            0 => Ok(Event::End(Checksum::Disabled)),
            stored if stored == computed => Ok(Event::End(Checksum::Verified)),
            stored => Err(self.input.error(ErrorKind::Checksum { stored, computed })),
        }
    }
}
