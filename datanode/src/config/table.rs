//! Every directive as data: name, alias, type, default, kind and flags; the struct [`Config`] is made from the same
//! lines. Names, ranges and defaults are those of Redis 7.0 (<https://redis.io/docs/latest/operate/oss_and_stack/management/config/>).

use std::path::PathBuf;

use super::load::os_text;
use super::refuse;
use super::types::{
    ClientMemory, DisklessLoad, EndpointType, EvictionPolicy, Fsync, Guard, KeyspaceEvents, LogFormat,
    LogLevel, OomScoreAdj, OutputLimit, PropagationError, PubsubDefault, SanitizePayload, SavePoint,
    ShutdownFlags, Supervised, SyslogFacility, TlsAuthClients,
};
use super::value::{Kind, Value};
use crate::disk::Disk;

/// How a directive may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Flags {
    /// CONFIG SET refuses it.
    pub immutable: bool,
    /// Takes several words; CONFIG SET splits its value at blanks.
    pub list: bool,
    /// Never to be shown in logs, the slow log or MONITOR.
    pub sensitive: bool,
    /// CONFIG SET needs `enable-protected-configs`.
    pub protected: bool,
    /// CONFIG SET refuses it while data is being loaded.
    pub deny_loading: bool,
    /// CONFIG GET shows it only by its exact name.
    pub hidden: bool,
    /// None of Redis': CONFIG SET takes the value it has already, so that all that CONFIG GET shows can be set again.
    pub own: bool,
}

const LIVE: Flags = Flags {
    immutable: false,
    list: false,
    sensitive: false,
    protected: false,
    deny_loading: false,
    hidden: false,
    own: false,
};
const FIXED: Flags = Flags { immutable: true, ..LIVE };
const LIVE_LIST: Flags = Flags { list: true, ..LIVE };
const OWN_FIXED: Flags = Flags { own: true, ..FIXED };
const FIXED_LIST: Flags = Flags { list: true, ..FIXED };
const SECRET: Flags = Flags { sensitive: true, ..LIVE };
const GUARDED: Flags = Flags { protected: true, ..LIVE };
const NOT_LOADING: Flags = Flags { deny_loading: true, ..LIVE };
const DIR: Flags = Flags { deny_loading: true, ..GUARDED };
const HIDDEN: Flags = Flags { hidden: true, ..LIVE };

/// Smallest backlog, bytes.
const MIN_BACKLOG: u64 = 16 << 10;
const MIN_HZ: u32 = 1;
const MAX_HZ: u32 = 500;

const MIN_INT: i64 = i32::MIN as i64;
const MAX_INT: i64 = i32::MAX as i64;
const MAX_UINT: i64 = u32::MAX as i64;
const MAX_LONG: i64 = i64::MAX;

const fn int(min: i64, max: i64) -> Kind {
    Kind::Int { min, max }
}

const fn memory(min: u64, max: u64) -> Kind {
    Kind::Memory { min, max }
}

const MAX_BYTES: u64 = i64::MAX as u64;

const OPTIONAL: Kind = Kind::Text { empty_is_none: true, check: refuse::nothing };
const TEXT: Kind = Kind::Text { empty_is_none: false, check: refuse::nothing };
const HOSTNAME: Kind = Kind::Text { empty_is_none: true, check: refuse::hostname };
const DB_FILE: Kind = Kind::Text { empty_is_none: false, check: refuse::db_filename };
const AOF_FILE: Kind = Kind::Text { empty_is_none: false, check: refuse::append_filename };
const AOF_DIR: Kind = Kind::Text { empty_is_none: false, check: refuse::append_dirname };
const PROC_TITLE: Kind = Kind::Text { empty_is_none: false, check: refuse::proc_title };

const OUTPUT_LIMITS: [OutputLimit; 3] = [
    OutputLimit { hard: 0, soft: 0, soft_seconds: 0 },
    OutputLimit { hard: 256 << 20, soft: 64 << 20, soft_seconds: 60 },
    OutputLimit { hard: 32 << 20, soft: 8 << 20, soft_seconds: 60 },
];

fn default_save() -> Vec<SavePoint> {
    [(3600, 1), (300, 100), (60, 10_000)].map(|(seconds, changes)| SavePoint { seconds, changes }).into()
}

/// One directive.
pub struct Directive {
    /// Its name.
    pub name: &'static str,
    /// Its older name, if it has one.
    pub alias: Option<&'static str>,
    /// What it takes.
    pub kind: Kind,
    /// How it may be used.
    pub flags: Flags,
    show: fn(&Config, &Kind) -> String,
    lines: fn(&Config, &Kind) -> Vec<String>,
    set: fn(&mut Config, &Kind, &[&str]) -> Result<(), String>,
}

/// The directive of this name or alias, in any case.
pub fn find(name: &str) -> Option<&'static Directive> {
    DIRECTIVES.iter().find(|d| d.names().any(|n| n.eq_ignore_ascii_case(name)))
}

impl Directive {
    /// Its name and its alias.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        std::iter::once(self.name).chain(self.alias)
    }

    /// Its value as CONFIG GET shows it.
    pub fn show(&self, config: &Config) -> String {
        (self.show)(config, &self.kind)
    }

    /// Arguments of the lines that set it in a file; none where it must be absent.
    pub(super) fn lines(&self, config: &Config) -> Vec<String> {
        (self.lines)(config, &self.kind)
    }

    /// Sets it, or says what is wrong; a configuration that was refused is to be dropped.
    pub(super) fn assign(&self, config: &mut Config, words: &[&str], disk: &dyn Disk) -> Result<(), String> {
        if !self.flags.list && words.len() != 1 {
            return Err("wrong number of arguments".into());
        }
        (self.set)(config, &self.kind, words)?;
        match self.name {
            "hz" => config.hz = config.hz.clamp(MIN_HZ, MAX_HZ),
            "repl-backlog-size" => config.repl_backlog_size = config.repl_backlog_size.max(MIN_BACKLOG),
            "dir" => {
                disk.list(&config.dir).map_err(|e| os_text(&e))?;
            }
            _ => {}
        }
        refuse::unsupported(config, self.name).map_or(Ok(()), |reason| Err(reason.into()))
    }
}

macro_rules! directives {
    ($(
        $(#[$doc:meta])*
        $field:ident : $ty:ty = $default:expr, $name:literal $(or $alias:literal)?, $kind:expr, $flags:expr;
    )*) => {
        /// The configuration: a field for each directive, named like it, and what files hold besides.
        #[derive(Debug, Clone, PartialEq)]
        pub struct Config {
            $($(#[$doc])* pub $field: $ty,)*
            /// What is not a directive with a value.
            pub extra: super::Extra,
        }

        impl Default for Config {
            fn default() -> Self {
                Config { $($field: $default,)* extra: super::Extra::default() }
            }
        }

        /// All directives, in the order in which CONFIG REWRITE appends them.
        pub static DIRECTIVES: &[Directive] = &[$(
            Directive {
                name: $name,
                alias: [$(Some($alias),)? None][0],
                kind: $kind,
                flags: $flags,
                show: |config, kind| Value::show(&config.$field, kind),
                lines: |config, kind| Value::lines(&config.$field, kind),
                set: |config, kind, words| {
                    config.$field = Value::parse(&config.$field, kind, words)?;
                    Ok(())
                },
            },
        )*];
    };
}

directives! {
    // Network
    /// Addresses to listen on; `*` is every one, a leading `-` lets a missing one pass. Empty: none.
    bind: Vec<String> = vec!["*".into(), "-::*".into()], "bind", Kind::Special, LIVE_LIST;
    /// Local address of outgoing connections.
    bind_source_addr: String = String::new(), "bind-source-addr", OPTIONAL, LIVE;
    /// TCP port; 0 is none.
    port: u16 = 6379, "port", int(0, 65535), LIVE;
    /// Without a password, serve only clients of the same machine.
    protected_mode: bool = true, "protected-mode", Kind::Bool, LIVE;
    /// Connections that may wait to be accepted.
    tcp_backlog: u32 = 511, "tcp-backlog", int(0, MAX_INT), FIXED;
    /// Seconds between keep-alive probes; 0 is none.
    tcp_keepalive: u32 = 300, "tcp-keepalive", int(0, MAX_INT), LIVE;
    /// Seconds after which an idle client is closed; 0 is never.
    timeout: u32 = 0, "timeout", int(0, MAX_INT), LIVE;
    /// Path of a socket to listen on.
    unixsocket: String = String::new(), "unixsocket", OPTIONAL, FIXED;
    /// Mode of the socket.
    unixsocketperm: u32 = 0, "unixsocketperm", Kind::Octal { max: 0o777 }, FIXED;
    /// Mark of listening sockets.
    socket_mark_id: u32 = 0, "socket-mark-id", int(0, MAX_UINT), FIXED;
    /// Most clients at once.
    maxclients: u32 = 10000, "maxclients", int(1, MAX_UINT), LIVE;
    /// Bytes of the longest argument.
    proto_max_bulk_len: u64 = 512 << 20, "proto-max-bulk-len", memory(1 << 20, MAX_BYTES), LIVE;
    /// Bytes of the longest request.
    client_query_buffer_limit: u64 = 1 << 30, "client-query-buffer-limit", memory(1 << 20, MAX_BYTES), LIVE;
    /// Bounds on unsent replies; see `types::CLASS_NORMAL` and so on.
    client_output_buffer_limit: [OutputLimit; 3] = OUTPUT_LIMITS, "client-output-buffer-limit", Kind::Special, LIVE_LIST;
    /// Bound on the memory of all clients together; 0 is none.
    maxmemory_clients: ClientMemory = ClientMemory::Bytes(0), "maxmemory-clients", Kind::MemoryOrPercent, LIVE;
    /// Threads that read and write.
    io_threads: u32 = 1, "io-threads", int(1, 128), FIXED;
    /// Whether threads read too.
    io_threads_do_reads: bool = false, "io-threads-do-reads", Kind::Bool, FIXED;

    // General
    /// Go to the background.
    daemonize: bool = false, "daemonize", Kind::Bool, FIXED;
    /// Who supervises the process.
    supervised: Supervised = Supervised::No, "supervised", Kind::Choice, FIXED;
    /// File the process id is written to.
    pidfile: String = String::new(), "pidfile", OPTIONAL, FIXED;
    /// Least severe message that is logged.
    loglevel: LogLevel = LogLevel::Notice, "loglevel", Kind::Choice, LIVE;
    /// File the log goes to; empty is standard output.
    logfile: String = String::new(), "logfile", TEXT, FIXED;
    /// Log to syslog too.
    syslog_enabled: bool = false, "syslog-enabled", Kind::Bool, FIXED;
    /// Name in syslog.
    syslog_ident: String = "redis".into(), "syslog-ident", TEXT, FIXED;
    /// Facility in syslog.
    syslog_facility: SyslogFacility = SyslogFacility::Local0, "syslog-facility", Kind::Choice, FIXED;
    /// Log the state on a crash.
    crash_log_enabled: bool = true, "crash-log-enabled", Kind::Bool, LIVE;
    /// Test the memory on a crash.
    crash_memcheck_enabled: bool = true, "crash-memcheck-enabled", Kind::Bool, LIVE;
    /// Number of databases.
    databases: u32 = 16, "databases", int(1, MAX_INT), FIXED;
    /// Show the logo even where the log is not a terminal.
    always_show_logo: bool = false, "always-show-logo", Kind::Bool, FIXED;
    /// Set the process title.
    set_proc_title: bool = true, "set-proc-title", Kind::Bool, FIXED;
    /// Form of the process title.
    proc_title_template: String = "{title} {listen-addr} {server-mode}".into(), "proc-title-template", PROC_TITLE, LIVE;
    /// Background rounds a second; held within 1 and 500.
    hz: u32 = 10, "hz", int(0, MAX_INT), LIVE;
    /// More rounds where there are many clients.
    dynamic_hz: bool = true, "dynamic-hz", Kind::Bool, LIVE;
    /// Spend idle time on growing tables.
    activerehashing: bool = true, "activerehashing", Kind::Bool, LIVE;
    /// Seconds that a shutdown waits for replicas.
    shutdown_timeout: u32 = 10, "shutdown-timeout", int(0, MAX_INT), LIVE;
    /// How SIGINT ends the process.
    shutdown_on_sigint: ShutdownFlags = ShutdownFlags::default(), "shutdown-on-sigint", Kind::Special, LIVE_LIST;
    /// How SIGTERM ends the process.
    shutdown_on_sigterm: ShutdownFlags = ShutdownFlags::default(), "shutdown-on-sigterm", Kind::Special, LIVE_LIST;
    /// Warnings at start that do not end the process.
    ignore_warnings: String = String::new(), "ignore-warnings", TEXT, LIVE;
    /// Adjustment of the kernel's out-of-memory score.
    oom_score_adj: OomScoreAdj = OomScoreAdj::No, "oom-score-adj", Kind::Choice, LIVE;
    /// The adjustments of master, replica and background process.
    oom_score_adj_values: [i32; 3] = [0, 200, 800], "oom-score-adj-values", Kind::Special, LIVE_LIST;
    /// Turn transparent huge pages off.
    disable_thp: bool = true, "disable-thp", Kind::Bool, FIXED;
    /// Processors of the main thread.
    server_cpulist: String = String::new(), "server_cpulist", OPTIONAL, FIXED;
    /// Processors of background threads.
    bio_cpulist: String = String::new(), "bio_cpulist", OPTIONAL, FIXED;
    /// Processors of the AOF rewrite.
    aof_rewrite_cpulist: String = String::new(), "aof_rewrite_cpulist", OPTIONAL, FIXED;
    /// Processors of the background save.
    bgsave_cpulist: String = String::new(), "bgsave_cpulist", OPTIONAL, FIXED;
    /// The allocator's background thread.
    jemalloc_bg_thread: bool = true, "jemalloc-bg-thread", Kind::Bool, LIVE;
    /// End by exit on a panic.
    use_exit_on_panic: bool = false, "use-exit-on-panic", Kind::Bool, HIDDEN;
    /// Milliseconds of the software watchdog; 0 is off.
    watchdog_period: u32 = 0, "watchdog-period", int(0, MAX_INT), HIDDEN;

    // Snapshots
    /// When a snapshot is saved.
    save: Vec<SavePoint> = default_save(), "save", Kind::Special, LIVE_LIST;
    /// Refuse writes while the last snapshot could not be saved.
    stop_writes_on_bgsave_error: bool = true, "stop-writes-on-bgsave-error", Kind::Bool, LIVE;
    /// Compress texts in snapshots.
    rdbcompression: bool = true, "rdbcompression", Kind::Bool, LIVE;
    /// Checksum at the end of snapshots.
    rdbchecksum: bool = true, "rdbchecksum", Kind::Bool, FIXED;
    /// File name of the snapshot in `dir`.
    dbfilename: String = "dump.rdb".into(), "dbfilename", DB_FILE, GUARDED;
    /// Remove snapshots that only served synchronization.
    rdb_del_sync_files: bool = false, "rdb-del-sync-files", Kind::Bool, LIVE;
    /// Flush snapshots as they are written.
    rdb_save_incremental_fsync: bool = true, "rdb-save-incremental-fsync", Kind::Bool, LIVE;
    /// How deep DUMP payloads are checked.
    sanitize_dump_payload: SanitizePayload = SanitizePayload::No, "sanitize-dump-payload", Kind::Choice, LIVE;
    /// Microseconds to sleep for each key saved (for tests).
    rdb_key_save_delay: i32 = 0, "rdb-key-save-delay", int(MIN_INT, MAX_INT), HIDDEN;
    /// Microseconds to sleep for each key loaded (for tests).
    key_load_delay: i32 = 0, "key-load-delay", int(MIN_INT, MAX_INT), HIDDEN;
    /// Bytes loaded between looks at the network.
    loading_process_events_interval_bytes: u32 = 2 << 20, "loading-process-events-interval-bytes", int(1024, MAX_INT), HIDDEN;
    /// Working directory, absolute once loaded.
    dir: PathBuf = PathBuf::from("/"), "dir", Kind::Special, DIR;

    // Append-only file
    /// Keep an append-only file.
    appendonly: bool = false, "appendonly", Kind::Bool, NOT_LOADING;
    /// Base of its files' names.
    appendfilename: String = "appendonly.aof".into(), "appendfilename", AOF_FILE, FIXED;
    /// Directory of its files in `dir`.
    appenddirname: String = "appendonlydir".into(), "appenddirname", AOF_DIR, FIXED;
    /// When it is made durable.
    appendfsync: Fsync = Fsync::Everysec, "appendfsync", Kind::Choice, LIVE;
    /// Do not make it durable during a rewrite.
    no_appendfsync_on_rewrite: bool = false, "no-appendfsync-on-rewrite", Kind::Bool, LIVE;
    /// Per cent of growth that starts a rewrite; 0 is never.
    auto_aof_rewrite_percentage: u32 = 100, "auto-aof-rewrite-percentage", int(0, MAX_INT), LIVE;
    /// Bytes below which no rewrite starts by itself.
    auto_aof_rewrite_min_size: u64 = 64 << 20, "auto-aof-rewrite-min-size", memory(0, MAX_BYTES), LIVE;
    /// Load a file whose end is cut off.
    aof_load_truncated: bool = true, "aof-load-truncated", Kind::Bool, LIVE;
    /// Write base files in snapshot form.
    aof_use_rdb_preamble: bool = true, "aof-use-rdb-preamble", Kind::Bool, LIVE;
    /// Write timestamps.
    aof_timestamp_enabled: bool = false, "aof-timestamp-enabled", Kind::Bool, LIVE;
    /// Flush rewrites as they are written.
    aof_rewrite_incremental_fsync: bool = true, "aof-rewrite-incremental-fsync", Kind::Bool, LIVE;
    /// Keep files that are no longer needed.
    aof_disable_auto_gc: bool = false, "aof-disable-auto-gc", Kind::Bool, LIVE;

    // Replication
    /// Host and port of the master.
    replicaof: Option<(String, u16)> = None, "replicaof" or "slaveof", Kind::Special, FIXED_LIST;
    /// Password towards the master; empty is none.
    masterauth: String = String::new(), "masterauth", OPTIONAL, SECRET;
    /// ACL user towards the master; empty is none.
    masteruser: String = String::new(), "masteruser", OPTIONAL, SECRET;
    /// Serve reads while the link to the master is down.
    replica_serve_stale_data: bool = true, "replica-serve-stale-data" or "slave-serve-stale-data", Kind::Bool, LIVE;
    /// Refuse writes on replicas.
    replica_read_only: bool = true, "replica-read-only" or "slave-read-only", Kind::Bool, LIVE;
    /// Leave eviction to the master.
    replica_ignore_maxmemory: bool = true, "replica-ignore-maxmemory" or "slave-ignore-maxmemory", Kind::Bool, LIVE;
    /// Free the old data of a resynchronized replica in the background.
    replica_lazy_flush: bool = false, "replica-lazy-flush" or "slave-lazy-flush", Kind::Bool, LIVE;
    /// Let a replica that cannot write its files go on.
    replica_ignore_disk_write_errors: bool = false, "replica-ignore-disk-write-errors", Kind::Bool, LIVE;
    /// What happens when a replicated command fails.
    propagation_error_behavior: PropagationError = PropagationError::Ignore, "propagation-error-behavior", Kind::Choice, LIVE;
    /// Send full synchronizations without a file.
    repl_diskless_sync: bool = true, "repl-diskless-sync", Kind::Bool, LIVE;
    /// Seconds to wait for more replicas before one starts.
    repl_diskless_sync_delay: u32 = 5, "repl-diskless-sync-delay", int(0, MAX_INT), LIVE;
    /// Replicas that end that wait; 0 is no number.
    repl_diskless_sync_max_replicas: u32 = 0, "repl-diskless-sync-max-replicas", int(0, MAX_INT), LIVE;
    /// How a replica takes a full synchronization.
    repl_diskless_load: DisklessLoad = DisklessLoad::Disabled, "repl-diskless-load", Kind::Choice, NOT_LOADING;
    /// Seconds between a master's PINGs.
    repl_ping_replica_period: u32 = 10, "repl-ping-replica-period" or "repl-ping-slave-period", int(1, MAX_INT), LIVE;
    /// Seconds of silence that end a link.
    repl_timeout: u32 = 60, "repl-timeout", int(1, MAX_INT), LIVE;
    /// Send fewer, larger packets.
    repl_disable_tcp_nodelay: bool = false, "repl-disable-tcp-nodelay", Kind::Bool, LIVE;
    /// Bytes of the stream kept for partial resynchronization.
    repl_backlog_size: u64 = 1 << 20, "repl-backlog-size", memory(1, MAX_BYTES), LIVE;
    /// Seconds without replicas after which they are given up; 0 is never.
    repl_backlog_ttl: u64 = 3600, "repl-backlog-ttl", int(0, MAX_LONG), LIVE;
    /// Sentinel prefers smaller; 0 is never promoted.
    replica_priority: u32 = 100, "replica-priority" or "slave-priority", int(0, MAX_INT), LIVE;
    /// Sentinel shows this replica.
    replica_announced: bool = true, "replica-announced", Kind::Bool, LIVE;
    /// Address or name announced to the master.
    replica_announce_ip: String = String::new(), "replica-announce-ip" or "slave-announce-ip", OPTIONAL, LIVE;
    /// Port announced to the master; 0 is the real one.
    replica_announce_port: u16 = 0, "replica-announce-port" or "slave-announce-port", int(0, 65535), LIVE;
    /// Replicas needed for writes; 0 is off.
    min_replicas_to_write: u32 = 0, "min-replicas-to-write" or "min-slaves-to-write", int(0, MAX_INT), LIVE;
    /// Seconds of lag up to which a replica counts; 0 turns the rule off.
    min_replicas_max_lag: u32 = 10, "min-replicas-max-lag" or "min-slaves-max-lag", int(0, MAX_INT), LIVE;

    // Security
    /// Password of the default user; empty is none.
    requirepass: String = String::new(), "requirepass", OPTIONAL, SECRET;
    /// File of ACL users.
    aclfile: String = String::new(), "aclfile", TEXT, FIXED;
    /// Entries of the ACL log.
    acllog_max_len: u64 = 128, "acllog-max-len", int(0, MAX_LONG), LIVE;
    /// Channels a new user may use.
    acl_pubsub_default: PubsubDefault = PubsubDefault::Resetchannels, "acl-pubsub-default", Kind::Choice, LIVE;
    /// Who may set guarded directives.
    enable_protected_configs: Guard = Guard::No, "enable-protected-configs", Kind::Choice, FIXED;
    /// Who may use DEBUG.
    enable_debug_command: Guard = Guard::No, "enable-debug-command", Kind::Choice, FIXED;
    /// Who may use MODULE.
    enable_module_command: Guard = Guard::No, "enable-module-command", Kind::Choice, FIXED;

    // Memory
    /// Bytes; 0 is no bound.
    maxmemory: u64 = 0, "maxmemory", memory(0, u64::MAX), LIVE;
    /// What is removed when it is reached.
    maxmemory_policy: EvictionPolicy = EvictionPolicy::Noeviction, "maxmemory-policy", Kind::Choice, LIVE;
    /// Keys looked at for each removal.
    maxmemory_samples: u32 = 5, "maxmemory-samples", int(1, MAX_INT), LIVE;
    /// Effort of eviction.
    maxmemory_eviction_tenacity: u32 = 10, "maxmemory-eviction-tenacity", int(0, 100), LIVE;
    /// Effort of removing expired keys.
    active_expire_effort: u32 = 1, "active-expire-effort", int(1, 10), LIVE;
    /// How slowly use counters rise.
    lfu_log_factor: u32 = 10, "lfu-log-factor", int(0, MAX_INT), LIVE;
    /// Minutes after which they fall.
    lfu_decay_time: u32 = 1, "lfu-decay-time", int(0, MAX_INT), LIVE;
    /// Free evicted values in the background.
    lazyfree_lazy_eviction: bool = false, "lazyfree-lazy-eviction", Kind::Bool, LIVE;
    /// Free expired values in the background.
    lazyfree_lazy_expire: bool = false, "lazyfree-lazy-expire", Kind::Bool, LIVE;
    /// Free overwritten values in the background.
    lazyfree_lazy_server_del: bool = false, "lazyfree-lazy-server-del", Kind::Bool, LIVE;
    /// Free deleted values in the background.
    lazyfree_lazy_user_del: bool = false, "lazyfree-lazy-user-del", Kind::Bool, LIVE;
    /// Free flushed values in the background.
    lazyfree_lazy_user_flush: bool = false, "lazyfree-lazy-user-flush", Kind::Bool, LIVE;
    /// Defragment memory.
    activedefrag: bool = false, "activedefrag", Kind::Bool, LIVE;
    /// Bytes of waste below which nothing is done.
    active_defrag_ignore_bytes: u64 = 100 << 20, "active-defrag-ignore-bytes", memory(1, MAX_BYTES), LIVE;
    /// Per cent of waste at which it starts.
    active_defrag_threshold_lower: u32 = 10, "active-defrag-threshold-lower", int(0, 1000), LIVE;
    /// Per cent of waste at which it does its most.
    active_defrag_threshold_upper: u32 = 100, "active-defrag-threshold-upper", int(0, 1000), LIVE;
    /// Least per cent of a processor.
    active_defrag_cycle_min: u32 = 1, "active-defrag-cycle-min", int(1, 99), LIVE;
    /// Most per cent of a processor.
    active_defrag_cycle_max: u32 = 25, "active-defrag-cycle-max", int(1, 99), LIVE;
    /// Fields of a value scanned at once.
    active_defrag_max_scan_fields: u64 = 1000, "active-defrag-max-scan-fields", int(1, MAX_LONG), LIVE;
    /// Keys tracked for clients' caches; 0 is no bound.
    tracking_table_max_keys: u64 = 1_000_000, "tracking-table-max-keys", int(0, MAX_LONG), LIVE;

    // Encodings
    /// Entries of a compact hash.
    hash_max_listpack_entries: u64 = 512, "hash-max-listpack-entries" or "hash-max-ziplist-entries", int(0, MAX_LONG), LIVE;
    /// Bytes of its longest field or value.
    hash_max_listpack_value: u64 = 64, "hash-max-listpack-value" or "hash-max-ziplist-value", memory(0, MAX_BYTES), LIVE;
    /// Entries of a list node, or if negative 4, 8, 16, 32, 64 KB.
    list_max_listpack_size: i32 = -2, "list-max-listpack-size" or "list-max-ziplist-size", int(MIN_INT, MAX_INT), LIVE;
    /// Nodes at either end that are not compressed; 0 is all.
    list_compress_depth: u32 = 0, "list-compress-depth", int(0, MAX_INT), LIVE;
    /// Members of a compact set of integers.
    set_max_intset_entries: u64 = 512, "set-max-intset-entries", int(0, MAX_LONG), LIVE;
    /// Members of a compact sorted set.
    zset_max_listpack_entries: u64 = 128, "zset-max-listpack-entries" or "zset-max-ziplist-entries", int(0, MAX_LONG), LIVE;
    /// Bytes of its longest member.
    zset_max_listpack_value: u64 = 64, "zset-max-listpack-value" or "zset-max-ziplist-value", memory(0, MAX_BYTES), LIVE;
    /// Bytes of a sparse HyperLogLog.
    hll_sparse_max_bytes: u64 = 3000, "hll-sparse-max-bytes", memory(0, MAX_BYTES), LIVE;
    /// Bytes of a stream node; 0 is no bound.
    stream_node_max_bytes: u64 = 4096, "stream-node-max-bytes", memory(0, MAX_BYTES), LIVE;
    /// Entries of a stream node; 0 is no bound.
    stream_node_max_entries: u64 = 100, "stream-node-max-entries", int(0, MAX_LONG), LIVE;

    // Scripts, events, statistics
    /// Milliseconds after which a script's clients are told BUSY.
    busy_reply_threshold: u64 = 5000, "busy-reply-threshold" or "lua-time-limit", int(0, MAX_LONG), LIVE;
    /// Keyspace events that are published.
    notify_keyspace_events: KeyspaceEvents = KeyspaceEvents::default(), "notify-keyspace-events", Kind::Special, LIVE;
    /// Microseconds from which a command is logged as slow; -1 is never.
    slowlog_log_slower_than: i64 = 10000, "slowlog-log-slower-than", int(-1, MAX_LONG), LIVE;
    /// Entries of the slow log.
    slowlog_max_len: u64 = 128, "slowlog-max-len", int(0, MAX_LONG), LIVE;
    /// Milliseconds from which latency is recorded; 0 is off.
    latency_monitor_threshold: u64 = 0, "latency-monitor-threshold", int(0, MAX_LONG), LIVE;
    /// Keep latency histograms of commands.
    latency_tracking: bool = true, "latency-tracking", Kind::Bool, LIVE;
    /// Percentiles that INFO shows.
    latency_tracking_info_percentiles: Vec<f64> = vec![50.0, 99.0, 99.9], "latency-tracking-info-percentiles", Kind::Special, LIVE_LIST;

    // Cluster
    /// Hash slots.
    cluster_enabled: bool = false, "cluster-enabled", Kind::Bool, FIXED;
    /// File of the cluster's state.
    cluster_config_file: String = "nodes.conf".into(), "cluster-config-file", TEXT, FIXED;
    /// Milliseconds after which a node counts as down.
    cluster_node_timeout: u64 = 15000, "cluster-node-timeout", int(0, MAX_LONG), LIVE;
    /// Port of the cluster bus; 0 is the port plus 10000.
    cluster_port: u16 = 0, "cluster-port", int(0, 65535), FIXED;
    /// This replica is never promoted.
    cluster_replica_no_failover: bool = false, "cluster-replica-no-failover" or "cluster-slave-no-failover", Kind::Bool, LIVE;
    /// Age of data, in node timeouts, up to which a replica is promoted.
    cluster_replica_validity_factor: u32 = 10, "cluster-replica-validity-factor" or "cluster-slave-validity-factor", int(0, MAX_INT), LIVE;
    /// Replicas a master keeps when others migrate.
    cluster_migration_barrier: u32 = 1, "cluster-migration-barrier", int(0, MAX_INT), LIVE;
    /// Replicas may move to masters without one.
    cluster_allow_replica_migration: bool = true, "cluster-allow-replica-migration", Kind::Bool, LIVE;
    /// Serve nothing while a slot is not served.
    cluster_require_full_coverage: bool = true, "cluster-require-full-coverage", Kind::Bool, LIVE;
    /// Serve reads while the cluster is down.
    cluster_allow_reads_when_down: bool = false, "cluster-allow-reads-when-down", Kind::Bool, LIVE;
    /// Serve shard channels while the cluster is down.
    cluster_allow_pubsubshard_when_down: bool = true, "cluster-allow-pubsubshard-when-down", Kind::Bool, LIVE;
    /// Bytes of a bus link's unsent data; 0 is no bound.
    cluster_link_sendbuf_limit: u64 = 0, "cluster-link-sendbuf-limit", memory(0, u64::MAX), LIVE;
    /// Announced address.
    cluster_announce_ip: String = String::new(), "cluster-announce-ip", OPTIONAL, LIVE;
    /// Announced name.
    cluster_announce_hostname: String = String::new(), "cluster-announce-hostname", HOSTNAME, LIVE;
    /// Announced port; 0 is the real one.
    cluster_announce_port: u16 = 0, "cluster-announce-port", int(0, 65535), LIVE;
    /// Announced TLS port; 0 is the real one.
    cluster_announce_tls_port: u16 = 0, "cluster-announce-tls-port", int(0, 65535), LIVE;
    /// Announced bus port; 0 is the real one.
    cluster_announce_bus_port: u16 = 0, "cluster-announce-bus-port", int(0, 65535), LIVE;
    /// What clients are told as a node's address.
    cluster_preferred_endpoint_type: EndpointType = EndpointType::Ip, "cluster-preferred-endpoint-type", Kind::Choice, LIVE;

    // TLS (not built: see `refuse`)
    /// TLS port; 0 is none.
    tls_port: u16 = 0, "tls-port", int(0, 65535), LIVE;
    /// TLS towards the master.
    tls_replication: bool = false, "tls-replication", Kind::Bool, LIVE;
    /// TLS on the cluster bus.
    tls_cluster: bool = false, "tls-cluster", Kind::Bool, LIVE;
    /// Whether clients must show a certificate.
    tls_auth_clients: TlsAuthClients = TlsAuthClients::Yes, "tls-auth-clients", Kind::Choice, LIVE;
    /// Certificate.
    tls_cert_file: String = String::new(), "tls-cert-file", OPTIONAL, LIVE;
    /// Its key.
    tls_key_file: String = String::new(), "tls-key-file", OPTIONAL, LIVE;
    /// The key's password.
    tls_key_file_pass: String = String::new(), "tls-key-file-pass", OPTIONAL, LIVE;
    /// Certificate as a client.
    tls_client_cert_file: String = String::new(), "tls-client-cert-file", OPTIONAL, LIVE;
    /// Its key.
    tls_client_key_file: String = String::new(), "tls-client-key-file", OPTIONAL, LIVE;
    /// The key's password.
    tls_client_key_file_pass: String = String::new(), "tls-client-key-file-pass", OPTIONAL, LIVE;
    /// Diffie-Hellman parameters.
    tls_dh_params_file: String = String::new(), "tls-dh-params-file", OPTIONAL, LIVE;
    /// Authorities.
    tls_ca_cert_file: String = String::new(), "tls-ca-cert-file", OPTIONAL, LIVE;
    /// Directory of authorities.
    tls_ca_cert_dir: String = String::new(), "tls-ca-cert-dir", OPTIONAL, LIVE;
    /// Versions.
    tls_protocols: String = String::new(), "tls-protocols", OPTIONAL, LIVE;
    /// Ciphers up to TLS 1.2.
    tls_ciphers: String = String::new(), "tls-ciphers", OPTIONAL, LIVE;
    /// Ciphers of TLS 1.3.
    tls_ciphersuites: String = String::new(), "tls-ciphersuites", OPTIONAL, LIVE;
    /// The server's order of ciphers counts.
    tls_prefer_server_ciphers: bool = false, "tls-prefer-server-ciphers", Kind::Bool, LIVE;
    /// Cache sessions.
    tls_session_caching: bool = true, "tls-session-caching", Kind::Bool, LIVE;
    /// Sessions cached; 0 is no bound.
    tls_session_cache_size: u32 = 20480, "tls-session-cache-size", int(0, MAX_INT), LIVE;
    /// Seconds a session is cached.
    tls_session_cache_timeout: u32 = 300, "tls-session-cache-timeout", int(0, MAX_INT), LIVE;

    // Not of Redis: being one node of a RedisReplicaSet
    /// A shard map decides who is master.
    managed: bool = false, "managed", Kind::Bool, OWN_FIXED;
    /// Index of the shard this node belongs to.
    managed_shard: u32 = 0, "managed-shard", int(0, 16383), OWN_FIXED;
    /// File whose content is `requirepass` and `masterauth`; see `Config::reload_password`.
    password_file: String = String::new(), "password-file", OPTIONAL, OWN_FIXED;
    /// Replicas that must have acknowledged a write before its reply leaves.
    write_ack_replicas: u32 = 0, "write-ack-replicas", int(0, MAX_INT), LIVE;
    /// They must have it on disk, and so must this node.
    write_ack_fsync: bool = false, "write-ack-fsync", Kind::Bool, LIVE;
    /// Port of metrics and health; 0 is none.
    metrics_port: u16 = 0, "metrics-port", int(0, 65535), OWN_FIXED;
    /// Form of log lines.
    log_format: LogFormat = LogFormat::Text, "log-format", Kind::Choice, OWN_FIXED;
}
