//! Reads one file of the log, whichever way it is written: the entries of an RDB preamble, then commands. A server loads
//! all of [`super::files::AofFiles::parts`] this way; each file starts in database 0.

use std::io::{self, Read};
use std::path::PathBuf;

use super::files::LoadPart;
use super::read::{Command, LogReader, ReadError, starts_with_rdb};
use crate::disk::Disk;
use crate::rdb::decode::{Decoder, Event, Expired};
use crate::store::limits::Limits;

/// A step of loading.
pub enum Step {
    /// Something of the preamble. Its [`Event::End`] is not the file's.
    Preamble(Event),
    /// A command to execute.
    Command(Command),
}

/// Why a file cannot be loaded.
#[derive(Debug, thiserror::Error)]
#[error("{}: {kind}", path.display())]
pub struct LoadError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong.
    #[source]
    pub kind: LoadErrorKind,
}

/// Kinds of [`LoadError`].
#[derive(Debug, thiserror::Error)]
pub enum LoadErrorKind {
    /// It cannot be opened.
    #[error("cannot open the file: {0}")]
    Open(#[from] io::Error),
    /// The preamble is not sound.
    #[error("in the RDB preamble: {0}")]
    Preamble(#[from] crate::rdb::Error),
    /// The commands are not sound. A truncated tail of a file that [`LoadPart::may_be_cut`] can be cut off.
    #[error(transparent)]
    Commands(#[from] ReadError),
}

type Source = Box<dyn Read + Send>;

enum State {
    Preamble(Box<Decoder<Source>>),
    Commands(Box<LogReader<Source>>),
    Done,
}

/// Reads one file.
pub struct PartReader {
    path: PathBuf,
    state: State,
    tail: Tail,
}

/// What is known of the commands behind a preamble, as far as they have been read.
#[derive(Debug, Clone, Default)]
pub struct Tail {
    /// Where they start in the file.
    pub start: u64,
    /// Up to where they are whole.
    pub valid: u64,
    /// The latest annotation (timestamps aside) and the offset right behind it.
    pub annotation: Option<(Vec<u8>, u64)>,
}

impl Tail {
    fn of(log: &LogReader<Source>, start: u64) -> Tail {
        let annotation = log.annotation().map(|(line, at)| (line.to_vec(), at));
        Tail { start, valid: log.valid(), annotation }
    }
}

impl PartReader {
    /// Opens a file; collections in its preamble get their encodings by `limits`.
    pub fn open(disk: &dyn Disk, part: &LoadPart, limits: &Limits) -> Result<PartReader, LoadError> {
        let open = || {
            let (rdb, source) = starts_with_rdb(disk.open_read(&part.path)?)?;
            Ok(if rdb {
                // Expired keys stay: the commands behind may refer to them.
                State::Preamble(Box::new(Decoder::new(Box::new(source), limits.clone(), Expired::Keep)))
            } else {
                State::Commands(Box::new(LogReader::new(Box::new(source), 0)))
            })
        };
        let state =
            open().map_err(|e| LoadError { path: part.path.clone(), kind: LoadErrorKind::Open(e) })?;
        Ok(PartReader { path: part.path.clone(), state, tail: Tail::default() })
    }

    /// Bytes of the file that have been read.
    pub fn offset(&self) -> u64 {
        match &self.state {
            State::Preamble(decoder) => decoder.offset(),
            State::Commands(log) => log.valid(),
            State::Done => self.tail.valid,
        }
    }

    /// What is known of the commands, once there is no further step.
    pub fn tail(&self) -> &Tail {
        &self.tail
    }

    /// The next step, `None` at the end. Nothing comes after an error.
    pub fn next_step(&mut self) -> Result<Option<Step>, LoadError> {
        let (state, outcome) = match std::mem::replace(&mut self.state, State::Done) {
            State::Preamble(mut decoder) => match decoder.next_event() {
                Ok(Event::End(checksum)) => {
                    let offset = decoder.offset();
                    let rest: Source = Box::new(decoder.into_rest());
                    let log = Box::new(LogReader::new(rest, offset));
                    self.tail.start = offset;
                    (State::Commands(log), Ok(Some(Step::Preamble(Event::End(checksum)))))
                }
                Ok(event) => (State::Preamble(decoder), Ok(Some(Step::Preamble(event)))),
                Err(e) => (State::Done, Err(e.into())),
            },
            State::Commands(mut log) => match log.next_command() {
                Ok(Some(command)) => (State::Commands(log), Ok(Some(Step::Command(command)))),
                end => {
                    self.tail = Tail::of(&log, self.tail.start);
                    (State::Done, end.map(|_| None).map_err(Into::into))
                }
            },
            State::Done => (State::Done, Ok(None)),
        };
        self.state = state;
        outcome.map_err(|kind| LoadError { path: self.path.clone(), kind })
    }
}
