//! The effects of the running command or transaction, as the commands that a replica or the AOF has to repeat.
//! They are collected while it runs and leave as one unit: several are wrapped in MULTI/EXEC, so that no replica and no
//! reloaded AOF ever shows half of it.

use crate::resp::encode_command;

/// Who gets an effect (`redis.set_repl`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Targets(pub u8);

impl Targets {
    /// The append-only file.
    pub const LOG: Targets = Targets(1);
    /// Replicas.
    pub const REPLICAS: Targets = Targets(2);
    /// Both.
    pub const ALL: Targets = Targets(3);
}

impl Default for Targets {
    fn default() -> Targets {
        Targets::ALL
    }
}

/// Effects collected so far.
#[derive(Default)]
pub struct Effects {
    encoded: Vec<u8>,
    /// Database, start in `encoded`, and receivers of each command.
    commands: Vec<(usize, usize, Targets)>,
    /// Who gets what is added from now on.
    targets: Targets,
    /// Some of it is not for all.
    divided: bool,
    /// What was collected are changes that have nothing to do with each other: no transaction.
    loose: bool,
    /// Some of it changes data, so that the append-only file has to have it.
    changes_data: bool,
    /// Number of changes, as `rdb_changes_since_last_save` counts them.
    pub dirty: u64,
}

impl Effects {
    /// Adds a command to be repeated in a database.
    pub fn add<A: AsRef<[u8]>>(&mut self, db: usize, args: &[A]) {
        if !self.begin(db) {
            return;
        }
        encode_command(&mut self.encoded, args);
    }

    /// Adds a message as it was published: replicas pass it on to their subscribers, a log has no use for it.
    pub fn add_message(&mut self, db: usize, args: crate::command::Args<'_>) {
        let changes_data = self.changes_data;
        self.add_args(db, args);
        self.changes_data = changes_data;
    }

    /// Says that what has been collected need not leave as a transaction.
    pub fn loosen(&mut self) {
        self.loose = !self.is_empty();
    }

    /// Whether anything collected changes data.
    pub fn changes_data(&self) -> bool {
        self.changes_data
    }

    /// Adds a command as it came.
    pub fn add_args(&mut self, db: usize, args: crate::command::Args<'_>) {
        if !self.begin(db) {
            return;
        }
        crate::resp::writer::array_len(&mut self.encoded, args.len());
        for a in args.iter() {
            crate::resp::writer::bulk(&mut self.encoded, a);
        }
    }

    /// Begins a command; false if nobody gets it.
    fn begin(&mut self, db: usize) -> bool {
        if self.targets == Targets(0) {
            return false;
        }
        self.changes_data = true;
        self.divided |= self.targets != Targets::ALL;
        self.commands.push((db, self.encoded.len(), self.targets));
        true
    }

    /// Says who gets what is added from now on.
    pub fn set_targets(&mut self, targets: Targets) {
        self.targets = targets;
    }

    /// Whether some of it is not for all: what each gets is a unit of its own.
    pub fn is_divided(&self) -> bool {
        self.divided
    }

    /// True if there is nothing to repeat.
    pub fn is_empty(&self) -> bool {
        self.commands.is_empty()
    }

    /// Forgets what was collected (where nobody keeps or follows it).
    pub fn clear(&mut self) {
        self.encoded.clear();
        self.commands.clear();
        self.changes_data = false;
        self.divided = false;
        self.loose = false;
    }

    /// Appends the unit to `stream`, with SELECT where the database differs from `selected`, and forgets it.
    pub fn drain_into(&mut self, stream: &mut Vec<u8>, selected: &mut Option<usize>) {
        self.write(Targets::ALL, stream, selected);
        self.clear();
    }

    /// Appends what some of `receivers` get, as a unit.
    pub fn write(&self, receivers: Targets, stream: &mut Vec<u8>, selected: &mut Option<usize>) {
        let theirs = |targets: Targets| targets.0 & receivers.0 != 0;
        let wrap = self.commands.len() > 1 && !self.loose;
        let mut opened = false;
        for (i, &(db, start, targets)) in self.commands.iter().enumerate() {
            if !theirs(targets) {
                continue;
            }
            if *selected != Some(db) {
                encode_command(stream, &[b"SELECT".as_slice(), db.to_string().as_bytes()]);
                *selected = Some(db);
            }
            if wrap && !opened {
                encode_command(stream, &[b"MULTI"]);
                opened = true;
            }
            let end = self.commands.get(i + 1).map_or(self.encoded.len(), |next| next.1);
            stream.extend_from_slice(&self.encoded[start..end]);
        }
        if opened {
            encode_command(stream, &[b"EXEC"]);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use super::*;
    use crate::config::Config;
    use crate::config::types::Fsync;
    use crate::disk;
    use crate::disk_fake::FakeDisk;
    use crate::server::testing::Bench;

    #[test]
    fn a_message_goes_to_replicas_and_not_into_the_log() {
        let dir = Path::new("/data");
        let disk = FakeDisk::with_dir(dir);
        let config =
            Config { appendonly: true, appendfsync: Fsync::Always, dir: dir.into(), ..Config::default() };
        let mut b = Bench::on(config, Arc::new(disk.clone()));
        b.server.start(&mut b.io).unwrap();
        b.server.repl.ensure_backlog(&b.server.config);
        let c = b.connect();
        let log = || disk::read(&disk, &dir.join("appendonlydir/appendonly.aof.1.incr.aof")).unwrap();
        assert_eq!(b.send(c, "SET a 1"), "+OK\r\n");
        let (written, offset) = (log(), b.server.repl.offset());
        assert!(written.ends_with(b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1\r\n1\r\n"));
        assert_eq!(b.send(c, "PUBLISH news hello"), ":0\r\n");
        assert_eq!(log(), written);
        let mut stream = Vec::new();
        b.server.repl.backlog().unwrap().copy_from(offset + 1, &mut stream);
        assert_eq!(stream, b"*3\r\n$7\r\nPUBLISH\r\n$4\r\nnews\r\n$5\r\nhello\r\n");
        // Behind it the log names the database again, which only the stream has seen.
        b.send(c, "SET a 2");
        assert!(log()[written.len()..].starts_with(b"*2\r\n$6\r\nSELECT\r\n$1\r\n0\r\n"));
    }

    #[test]
    fn loosened_effects_travel_one_by_one_and_the_next_unit_together() {
        let (mut e, mut selected) = (Effects::default(), Some(0));
        let mut drained = |e: &mut Effects| {
            let mut out = Vec::new();
            e.drain_into(&mut out, &mut selected);
            String::from_utf8(out).unwrap()
        };
        // With nothing collected there is nothing to loosen.
        e.loosen();
        for key in ["a", "b"] {
            e.add(0, &["DEL", key]);
        }
        assert!(drained(&mut e).contains("MULTI"));
        for key in ["a", "b"] {
            e.add(0, &["DEL", key]);
            e.loosen();
        }
        let text = drained(&mut e);
        assert!(!text.contains("MULTI") && !text.contains("EXEC") && text.matches("DEL").count() == 2);
        for key in ["a", "b"] {
            e.add(0, &["DEL", key]);
        }
        assert!(drained(&mut e).contains("MULTI"));
    }

    #[test]
    fn one_effect_travels_alone_and_several_as_a_transaction() {
        let (mut e, mut out, mut selected) = (Effects::default(), Vec::new(), None);
        e.add(0, &["DEL", "a"]);
        e.drain_into(&mut out, &mut selected);
        assert_eq!(out, b"*2\r\n$6\r\nSELECT\r\n$1\r\n0\r\n*2\r\n$3\r\nDEL\r\n$1\r\na\r\n");
        out.clear();
        e.add(0, &["DEL", "a"]);
        e.add(1, &["DEL", "b"]);
        e.drain_into(&mut out, &mut selected);
        let text = String::from_utf8(out).unwrap();
        let words: Vec<&str> = text.split("\r\n").filter(|w| w.chars().all(char::is_alphanumeric)).collect();
        assert_eq!(words, ["MULTI", "DEL", "a", "SELECT", "1", "DEL", "b", "EXEC", ""]);
    }
}
