//! The figures of persistence that INFO, the metrics and the memory accounts show.

use super::log::Log;
use super::progress::Loading;
use super::snapshot::Running;
use crate::server::Server;

/// Figures by the names of INFO's fields (<https://redis.io/docs/latest/commands/info/>). Times in seconds, -1: none.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct PersistInfo {
    pub loading: bool,
    /// The present data are served while others are being loaded.
    pub async_loading: bool,
    /// Unix seconds.
    pub loading_start_time: i64,
    pub loading_total_bytes: u64,
    pub loading_loaded_bytes: u64,
    /// Memory of what the snapshot under way had to encode before its turn: what would be copied in a fork, bytes.
    pub current_cow_size: u64,
    pub current_save_keys_processed: u64,
    pub current_save_keys_total: u64,
    pub rdb_changes_since_last_save: u64,
    pub rdb_bgsave_in_progress: bool,
    /// Unix seconds.
    pub rdb_last_save_time: i64,
    pub rdb_last_bgsave_ok: bool,
    pub rdb_last_bgsave_time_sec: i64,
    pub rdb_current_bgsave_time_sec: i64,
    pub rdb_saves: u64,
    /// As `current_cow_size`, of the last snapshot.
    pub rdb_last_cow_size: u64,
    pub aof_last_cow_size: u64,
    pub rdb_last_load_keys_expired: u64,
    pub rdb_last_load_keys_loaded: u64,
    pub aof_enabled: bool,
    pub aof_rewrite_in_progress: bool,
    pub aof_rewrite_scheduled: bool,
    pub aof_last_rewrite_time_sec: i64,
    pub aof_current_rewrite_time_sec: i64,
    pub aof_last_bgrewrite_ok: bool,
    pub aof_rewrites: u64,
    pub aof_rewrites_consecutive_failures: u64,
    pub aof_last_write_ok: bool,
    /// Bytes of all files together.
    pub aof_current_size: u64,
    /// Bytes after the last rewrite, or at start.
    pub aof_base_size: u64,
    pub aof_pending_rewrite: bool,
    /// Bytes fed and not written yet.
    pub aof_buffer_length: u64,
    pub aof_pending_bio_fsync: u64,
    pub aof_delayed_fsync: u64,
}

impl Server {
    /// The present figures.
    pub fn persist_info(&self) -> PersistInfo {
        let p = &self.persist;
        let now_s = self.now_s;
        let running = |wanted: bool| match &p.snapshot {
            Some(s) if wanted => now_s - s.started_s(),
            _ => -1,
        };
        let saving = p.snapshot.as_ref().is_some_and(|s| s.is_rdb() || s.is_for_replicas());
        // It is over once the files are there that are to stay, and no others.
        let rewriting = p.removing_history || p.snapshot.as_ref().is_some_and(Running::is_rewrite);
        let progress = p.snapshot.as_ref().map(Running::progress).unwrap_or_default();
        PersistInfo {
            loading: self.load_state() == Loading::Plain,
            async_loading: self.load_state() == Loading::Async,
            loading_start_time: p.progress.map_or(0, |p| p.started_s),
            loading_total_bytes: p.progress.map_or(0, |p| p.total),
            loading_loaded_bytes: p.progress.map_or(0, |p| p.loaded),
            current_cow_size: progress.early,
            current_save_keys_processed: progress.keys,
            current_save_keys_total: progress.all,
            rdb_changes_since_last_save: p.dirty,
            rdb_bgsave_in_progress: saving,
            rdb_last_save_time: p.last_save,
            rdb_last_bgsave_ok: p.last_bgsave_ok,
            rdb_last_bgsave_time_sec: p.last_bgsave_s,
            rdb_current_bgsave_time_sec: running(saving),
            rdb_saves: p.saves,
            rdb_last_cow_size: p.last_early.rdb,
            aof_last_cow_size: p.last_early.aof,
            rdb_last_load_keys_expired: p.loaded.expired,
            rdb_last_load_keys_loaded: p.loaded.keys - p.loaded.expired,
            aof_enabled: p.aof_on(),
            aof_rewrite_in_progress: rewriting,
            aof_rewrite_scheduled: p.rewrite_scheduled,
            aof_last_rewrite_time_sec: p.last_rewrite_s,
            aof_current_rewrite_time_sec: running(rewriting),
            aof_last_bgrewrite_ok: p.last_rewrite_ok,
            aof_rewrites: p.rewrites,
            aof_rewrites_consecutive_failures: p.rewrite_failures,
            aof_last_write_ok: p.log.as_ref().is_none_or(|l| l.error().is_none()),
            aof_current_size: p.log.as_ref().map_or(0, Log::size),
            aof_base_size: p.log.as_ref().map_or(0, Log::base_size),
            aof_pending_rewrite: false,
            aof_buffer_length: p.log.as_ref().map_or(0, Log::unwritten),
            aof_pending_bio_fsync: u64::from(p.log.as_ref().is_some_and(Log::is_syncing)),
            aof_delayed_fsync: p.delayed_syncs,
        }
    }
}
