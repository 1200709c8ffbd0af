//! The seal: what a member has said of its files in advance, so that after a restart it is known whether they still hold
//! everything that it had acknowledged.
//!
//! Contract: a seal is on disk only while what this process acknowledges is in its append-only file before. It is broken,
//! durably, before anything else is acknowledged.

use serde::{Deserialize, Serialize};

use super::Managed;
use crate::config::types::Fsync;
use crate::io::Io;
use crate::server::Server;

/// How long a seal that could not be written is left alone, milliseconds.
const RETRY_MS: u64 = 100;

/// What the files outlive with all that was acknowledged.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Seal {
    /// Nothing: some of it may be in memory alone.
    #[default]
    None,
    /// The end of the process, while the machine goes on: the kernel has it.
    Process,
    /// Loss of power: it was synced before it was acknowledged, or the process has ended in order.
    Power,
}

impl Managed {
    /// Whether what was sealed by an earlier process is whole. `boot`: tells this start of the machine from others; empty if
    /// it is not known.
    fn is_sealed(&self, boot: &str) -> bool {
        match self.kept.seal {
            Seal::None => false,
            Seal::Process => !boot.is_empty() && self.kept.boot == boot,
            Seal::Power => true,
        }
    }

    /// The seal says more than is true, and could not be broken: nothing may be acknowledged meanwhile.
    pub(crate) fn is_oversealed(&self) -> bool {
        self.oversealed
    }
}

impl Server {
    /// The files have been loaded: with a seal they have all that this member had acknowledged.
    pub(super) fn open_seal(&mut self) {
        let loaded = self.persist.is_loaded_from_log() && self.persist.lineage().dataset.is_some();
        if let Some(m) = &mut self.managed {
            m.intact = loaded && m.is_sealed(&self.origins.boot);
            if !m.intact && m.kept.seal == Seal::Process {
                // Of another start of the machine: it says nothing any more.
                m.kept.seal = Seal::None;
            }
        }
    }

    /// What may be said of the files now: something only where clients are promised that their writes survive.
    fn deserved_seal(&self) -> Seal {
        let Some(m) = &self.managed else { return Seal::None };
        let acks = m.write_acks();
        // What is acknowledged from now on is synced before; what was acknowledged until now has to be first.
        let synced = acks.fsync && (m.kept.seal == Seal::Power || self.persist.is_synced());
        match self.config.appendfsync {
            _ if !m.intact || acks.replicas == 0 || !self.persist.log_is_whole() => Seal::None,
            _ if synced => Seal::Power,
            Fsync::Always => Seal::Power,
            Fsync::Everysec | Fsync::No if self.origins.boot.is_empty() => Seal::None,
            Fsync::Everysec | Fsync::No => Seal::Process,
        }
    }

    /// Seals the files, or breaks the seal; before replies and acknowledgements leave.
    pub(crate) fn renew_seal(&mut self, io: &Io) {
        let deserved = self.deserved_seal();
        let Some(m) = &self.managed else { return };
        let due = io.now.mono_ms() >= m.seal_retry_ms && self.shutdown.is_none_or(|s| !s.done);
        if due && (deserved != m.kept.seal || m.seal_unsure) {
            self.seal(io, deserved);
        }
        if let Some(m) = &mut self.managed {
            let over = deserved < m.kept.seal;
            if std::mem::replace(&mut m.oversealed, over) && !over {
                self.note_more_durable();
            }
        }
    }

    /// The process ends in order, with everything in its append-only file.
    pub(crate) fn seal_for_good(&mut self, io: &Io) {
        if self.managed.as_ref().is_some_and(|m| m.intact) && self.persist.log_is_whole() {
            self.seal(io, Seal::Power);
        }
    }

    fn seal(&mut self, io: &Io, seal: Seal) {
        let Some(m) = &mut self.managed else { return };
        m.kept.boot.clone_from(&self.origins.boot);
        let before = std::mem::replace(&mut m.kept.seal, seal);
        let outcome = m.keep(&*self.disk);
        m.seal_unsure = outcome.is_err();
        if let Err(e) = outcome {
            // Either may be on disk.
            m.kept.seal = seal.max(before);
            m.seal_retry_ms = io.now.mono_ms() + RETRY_MS;
            tracing::error!("What the files hold could not be recorded: {e}");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use super::*;
    use crate::config::Config;
    use crate::disk_fake::{FakeDisk, Fault, Survives};
    use crate::io::Service;
    use crate::server::start::ShutdownMode;
    use crate::server::testing::Bench;

    const DIR: &str = "/data";
    const HERE: &str = "7aa3";
    const LATER: &str = "91c0";

    /// A process on a start of the machine.
    fn start(disk: &FakeDisk, boot: &str, fsync: Fsync, appendonly: bool) -> Bench {
        let config = Config {
            managed: true,
            dir: DIR.into(),
            appendonly,
            appendfsync: fsync,
            save: Vec::new(),
            ..Config::default()
        };
        let mut b = Bench::on(config, Arc::new(disk.clone()));
        b.server.origins.boot = boot.into();
        b.server.start(&mut b.io).unwrap();
        b.settle();
        b
    }

    fn is_intact(b: &Bench) -> bool {
        b.server.managed.as_ref().unwrap().is_intact()
    }

    /// Elected master of two members.
    fn lead(b: &mut Bench, acks: u32) {
        let conn = b.connect();
        assert!(b.send(conn, "REPLICASET PROMISE 0 1").starts_with('$'));
        let answer = offer(b, 1, acks, false);
        assert!(b.server.is_master() && is_intact(b), "{answer}");
        b.settle();
    }

    /// The map, with other wishes.
    fn ask(b: &mut Bench, generation: u64, fsync: bool) {
        let answer = offer(b, generation, 1, fsync);
        assert!(answer.starts_with('$'), "{answer}");
    }

    fn offer(b: &mut Bench, generation: u64, acks: u32, fsync: bool) -> String {
        let map = format!(
            r#"{{"name": "orders", "generation": {generation}, "settled": true, "quorum": 2, "downAfterMs": 1000,
            "failoverTimeoutMs": 10000, "graceMs": 30000, "parallelSyncs": 1, "writeAckReplicas": {acks},
            "writeAckFsync": {fsync}, "sentinels": [],
            "shards": [{{"index": 0, "slots": [[0, 16383]], "members": ["127.0.0.1:6379", "127.0.0.1:6380"], "epoch": 1,
            "master": "127.0.0.1:6379", "dataset": "{}", "foundedAt": 1, "acceptLoss": 0}}]}}"#,
            "d".repeat(40)
        );
        let conn = b.connect();
        b.send(conn, &format!("REPLICASET OFFER '{}'", map.replace('\n', " ")))
    }

    fn ended(fsync: Fsync, acks: u32) -> FakeDisk {
        let disk = FakeDisk::with_dir(Path::new(DIR));
        let mut b = start(&disk, HERE, fsync, true);
        assert!(!is_intact(&b));
        lead(&mut b, acks);
        disk
    }

    #[test]
    fn a_killed_process_leaves_what_the_kernel_has() {
        let disk = ended(Fsync::Everysec, 1);
        assert!(is_intact(&start(&disk, HERE, Fsync::Everysec, true)));
        assert!(is_intact(&start(&disk, HERE, Fsync::Everysec, true)), "killed again at once");
        assert!(!is_intact(&start(&disk, HERE, Fsync::Everysec, false)), "the log is not read");
        assert!(!is_intact(&start(&ended(Fsync::Everysec, 1), LATER, Fsync::Everysec, true)));
        assert!(!is_intact(&start(&ended(Fsync::Everysec, 1), "", Fsync::Everysec, true)));
        assert!(
            !is_intact(&start(&ended(Fsync::Everysec, 0), HERE, Fsync::Everysec, true)),
            "nothing was promised"
        );
    }

    /// Else it could be given the rest of a history that it has left.
    #[test]
    fn a_restarted_member_knows_which_history_it_is_in() {
        let disk = FakeDisk::with_dir(Path::new(DIR));
        let mut b = start(&disk, HERE, Fsync::Everysec, true);
        lead(&mut b, 1);
        let conn = b.connect();
        b.send(conn, "SET a 1");
        let first = b.server.repl.id.clone();
        let conn = b.connect();
        b.send(conn, "REPLICASET PROMISE 0 2");
        let map = b.send(conn, "REPLICASET MAP").split_once("\r\n").unwrap().1.trim_end().to_owned();
        b.send(conn, &format!("REPLICASET OFFER '{}'", map.replace(r#""epoch":1"#, r#""epoch":2"#)));
        assert!(b.server.is_master() && b.server.repl.id != first);
        b.settle();
        let conn = b.connect();
        b.send(conn, "SET a 2");
        let restarted = start(&disk, HERE, Fsync::Everysec, true).server.repl;
        assert_eq!((&restarted.id, restarted.offset()), (&b.server.repl.id, b.server.repl.offset()));
    }

    #[test]
    fn what_is_synced_first_outlives_a_loss_of_power() {
        let disk = ended(Fsync::Always, 1).after_crash(Survives::Nothing);
        assert!(is_intact(&start(&disk, LATER, Fsync::Always, true)));
    }

    /// Without `always` too, where replies and acknowledgements wait for the sync.
    #[test]
    fn so_does_what_is_synced_before_it_is_acknowledged() {
        for fsync in [Fsync::Everysec, Fsync::No] {
            let disk = FakeDisk::with_dir(Path::new(DIR));
            let mut b = start(&disk, HERE, fsync, true);
            lead(&mut b, 1);
            let seal = |b: &Bench| b.server.managed.as_ref().unwrap().kept.seal;
            assert_eq!(seal(&b), Seal::Process);
            let conn = b.connect();
            assert_eq!(b.send(conn, "SET in memory"), "", "held: there is no replica");
            ask(&mut b, 2, true);
            assert_eq!(seal(&b), Seal::Process, "what came before is not synced yet");
            b.settle();
            b.server.before_sleep(&mut b.io);
            assert_eq!(seal(&b), Seal::Power);
            assert_eq!(b.send(conn, "SET another one"), "");
            assert!(is_intact(&start(&disk.after_crash(Survives::Nothing), LATER, fsync, true)));
            ask(&mut b, 3, false);
            assert_eq!(seal(&b), Seal::Process);
            assert!(!is_intact(&start(&disk.after_crash(Survives::Nothing), LATER, fsync, true)));
        }
    }

    #[test]
    fn so_does_an_orderly_end() {
        let disk = FakeDisk::with_dir(Path::new(DIR));
        let mut b = start(&disk, HERE, Fsync::Everysec, true);
        lead(&mut b, 1);
        let mode = ShutdownMode { now: true, ..ShutdownMode::default() };
        b.server.begin_shutdown(&mut b.io, mode);
        b.server.before_sleep(&mut b.io);
        let disk = disk.after_crash(Survives::Nothing);
        let mut b = start(&disk, LATER, Fsync::Everysec, true);
        assert!(is_intact(&b));
        b.pass(0);
        assert_eq!(b.server.managed.as_ref().unwrap().kept.seal, Seal::Process, "it may lose power again");
    }

    #[test]
    fn a_log_that_is_switched_off_breaks_it_before_anything_is_acknowledged() {
        let disk = FakeDisk::with_dir(Path::new(DIR));
        let mut b = start(&disk, HERE, Fsync::Everysec, true);
        lead(&mut b, 1);
        let conn = b.connect();
        disk.set_fault(Fault::BrokenFrom(0));
        b.send(conn, "CONFIG SET appendonly no");
        assert!(b.server.managed.as_ref().unwrap().is_oversealed() && !b.server.may_acknowledge());
        disk.set_fault(Fault::None);
        b.pass(RETRY_MS);
        assert!(!b.server.managed.as_ref().unwrap().is_oversealed());
        assert!(!is_intact(&start(&disk, HERE, Fsync::Everysec, true)));
    }
}
