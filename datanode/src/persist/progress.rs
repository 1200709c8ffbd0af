//! Files take a while to be loaded: others are served meanwhile, as far as that does not need the data, and are told
//! how far it is (`LOADING`, INFO). A replica whose master has the same history goes on to serve what it had.

use crate::config::types::DisklessLoad;
use crate::io::Io;
use crate::server::Server;

/// Rounds of the driver at a time: what is asked in one is answered in the next (as many as Redis has).
const TURNS: usize = 4;

/// How far loading is.
#[derive(Debug, Clone, Copy)]
pub struct LoadProgress {
    /// Unix seconds when it was begun.
    pub started_s: i64,
    /// Bytes to be read.
    pub total: u64,
    /// Bytes that have been read.
    pub loaded: u64,
    /// `loaded` when others were served last.
    served_at: u64,
}

/// What clients may have while data are being replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loading {
    /// Nothing is being loaded.
    No,
    /// Only what does not need the data.
    Plain,
    /// The data as they were, but no command that would get into the way.
    Async,
}

impl Server {
    /// A file is being read at this moment: whatever happens now happens in the midst of that.
    pub fn in_load(&self) -> bool {
        self.loading || self.async_loading
    }

    /// What INFO calls loading: with `repl-diskless-load` the transfer is part of it.
    pub fn load_state(&self) -> Loading {
        let receives = self.loads_as_it_receives() && self.repl.link.as_ref().is_some_and(|l| l.is_syncing());
        match (self.loading, self.async_loading) {
            (true, _) => Loading::Plain,
            (_, true) => Loading::Async,
            _ if receives && self.shares_history() => Loading::Async,
            _ if receives => Loading::Plain,
            _ => Loading::No,
        }
    }

    /// `repl-diskless-load` asks for what is here always so: nothing is given up before all of the new is there.
    fn loads_as_it_receives(&self) -> bool {
        match self.config.repl_diskless_load {
            DisklessLoad::Disabled => false,
            DisklessLoad::OnEmptyDb => self.keyspace.is_empty(),
            DisklessLoad::Swapdb => true,
        }
    }

    /// The transfer from the master has begun.
    pub(crate) fn log_sync_load(&self) {
        if self.loads_as_it_receives() {
            tracing::info!("MASTER <-> REPLICA sync: Loading DB in memory");
        }
    }

    /// The transfer has been received whole.
    pub(crate) fn log_load_of_received(&self) {
        if !self.loads_as_it_receives() {
            tracing::info!("MASTER <-> REPLICA sync: Loading DB in memory");
        }
    }

    /// The snapshot that is being received is of the history that the present data belong to.
    pub(crate) fn shares_history(&self) -> bool {
        let id = self.repl.link.as_ref().and_then(|l| l.syncing_id());
        self.repl.has_history && id.is_some_and(|id| id == self.repl.id)
    }

    /// So many bytes are going to be read.
    pub(super) fn begin_progress(&mut self, io: &Io, total: u64) {
        let started_s = io.now.unix_ms / 1000;
        self.persist.progress = Some(LoadProgress { started_s, total, loaded: 0, served_at: 0 });
    }

    /// So many bytes of the present file have been read: has others served now and then. The error ends the loading.
    pub(super) fn note_progress(&mut self, io: &mut Io, loaded: u64) -> Result<(), String> {
        let interval = u64::from(self.config.loading_process_events_interval_bytes);
        let Some(p) = &mut self.persist.progress else { return Ok(()) };
        p.loaded = loaded;
        if loaded < p.served_at + interval {
            return Ok(());
        }
        p.served_at = loaded;
        self.serve_during_load(io)
    }

    /// Has the driver serve sockets once. Not under a shard map: what would change a node's role has to find it whole.
    pub(super) fn serve_during_load(&mut self, io: &mut Io) -> Result<(), String> {
        if self.managed.is_some() || self.in_exec || self.in_script() || !self.in_load() {
            return Ok(());
        }
        for _ in 0..TURNS {
            let Some(driver) = io.take_driver() else { break };
            let driver = driver.turn(self, io);
            io.lend_driver(driver);
        }
        match self.shutdown.is_some_and(|s| s.done) {
            true => Err("the server was asked to end".into()),
            false => Ok(()),
        }
    }

    /// `key-load-delay`: microseconds for each key, or where it is negative a microsecond for so many; `n` is the key's
    /// number.
    pub(super) fn delay_load(&self, n: u64) {
        let delay = self.config.key_load_delay;
        let each = u64::from(delay.unsigned_abs());
        let us = match delay {
            0 => return,
            1.. => each,
            _ => u64::from(n.is_multiple_of(each)),
        };
        std::thread::sleep(std::time::Duration::from_micros(us));
    }
}
