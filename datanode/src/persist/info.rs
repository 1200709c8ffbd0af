//! The figures of persistence that INFO, the metrics and the memory accounts show.

use crate::server::Server;

/// Figures by the names of INFO's fields (<https://redis.io/docs/latest/commands/info/>). Times in seconds, -1: none.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct PersistInfo {
    pub loading: bool,
    /// Unix seconds.
    pub loading_start_time: i64,
    pub loading_total_bytes: u64,
    pub loading_loaded_bytes: u64,
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
        PersistInfo {
            loading: self.loading,
            loading_start_time: 0,
            loading_total_bytes: 0,
            loading_loaded_bytes: 0,
            current_save_keys_processed: 0,
            current_save_keys_total: 0,
            rdb_changes_since_last_save: self.persist.dirty,
            rdb_bgsave_in_progress: self.keyspace.in_snapshot(),
            rdb_last_save_time: self.persist.last_save,
            rdb_last_bgsave_ok: true,
            rdb_last_bgsave_time_sec: -1,
            rdb_current_bgsave_time_sec: -1,
            rdb_saves: 0,
            rdb_last_load_keys_expired: 0,
            rdb_last_load_keys_loaded: 0,
            aof_enabled: self.persist.aof_on(),
            aof_rewrite_in_progress: false,
            aof_rewrite_scheduled: false,
            aof_last_rewrite_time_sec: -1,
            aof_current_rewrite_time_sec: -1,
            aof_last_bgrewrite_ok: true,
            aof_rewrites: 0,
            aof_rewrites_consecutive_failures: 0,
            aof_last_write_ok: true,
            aof_current_size: 0,
            aof_base_size: 0,
            aof_pending_rewrite: false,
            aof_buffer_length: 0,
            aof_pending_bio_fsync: 0,
            aof_delayed_fsync: 0,
        }
    }
}
