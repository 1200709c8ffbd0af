//! INFO: figures by section, in Redis 7.0's names and order, since clients, exporters and sentinels read them by name
//! (<https://redis.io/docs/latest/commands/info/>).

use std::fmt::Write;

use super::Server;
use super::pubsub::Kind;
use crate::config::REDIS_VERSION;
use crate::io::Io;
use crate::replication::Stage;

/// What a section needs to write itself.
struct Page<'a> {
    server: &'a Server,
    io: &'a mut Io,
    out: String,
}

macro_rules! line {
    ($page:expr, $($text:tt)*) => {{
        // Writing to a string cannot fail.
        let _ = write!($page.out, $($text)*);
        $page.out.push_str("\r\n");
    }};
}

type Section = (&'static str, &'static str, fn(&mut Page<'_>));

/// Name to ask for it, title, content; in order.
const SECTIONS: [Section; 13] = [
    ("server", "Server", server),
    ("clients", "Clients", clients),
    ("memory", "Memory", memory),
    ("persistence", "Persistence", persistence),
    ("stats", "Stats", stats),
    ("replication", "Replication", replication),
    ("cpu", "CPU", cpu),
    ("modules", "Modules", |_| {}),
    ("commandstats", "Commandstats", commandstats),
    ("errorstats", "Errorstats", errorstats),
    ("latencystats", "Latencystats", latencystats),
    ("cluster", "Cluster", cluster),
    ("keyspace", "Keyspace", keyspace),
];

/// Sections that are shown only where they are asked for.
const ON_REQUEST: [&str; 2] = ["commandstats", "latencystats"];
/// Sections of a sentinel's front; the sentinel adds its own.
const OF_A_FRONT: [&str; 4] = ["server", "clients", "stats", "cpu"];

impl Server {
    /// The text of `INFO section …`; without sections the default ones.
    pub fn info(&mut self, io: &mut Io, wanted: &[String]) -> String {
        self.refresh_memory();
        let asked = |name: &str| wanted.iter().any(|w| w == name);
        let default = wanted.is_empty() || asked("default");
        let all = asked("all") || asked("everything");
        let front = self.is_front();
        let mut page = Page { server: self, io, out: String::new() };
        for (name, title, write) in SECTIONS {
            if front && !OF_A_FRONT.contains(&name) {
                continue;
            }
            let shown = all || asked(name) || (default && !ON_REQUEST.contains(&name));
            if shown && (name != "modules" || !asked("all") || asked("everything") || asked(name)) {
                if !page.out.is_empty() {
                    page.out.push_str("\r\n");
                }
                line!(page, "# {title}");
                write(&mut page);
            }
        }
        page.out
    }
}

/// Bytes as people read them.
fn human(bytes: u64) -> String {
    const UNITS: [(u32, char); 5] = [(50, 'P'), (40, 'T'), (30, 'G'), (20, 'M'), (10, 'K')];
    for (shift, unit) in UNITS {
        if bytes >= 1 << shift {
            return format!("{:.2}{unit}", bytes as f64 / (1u64 << shift) as f64);
        }
    }
    format!("{bytes}B")
}

fn flag(b: bool) -> u8 {
    u8::from(b)
}

fn status(ok: bool) -> &'static str {
    if ok { "ok" } else { "err" }
}

fn server(p: &mut Page<'_>) {
    let (s, now) = (p.server, p.io.now);
    let uptime = now.mono_us.saturating_sub(s.started.mono_us) / 1_000_000;
    let mode = s.mode_name();
    let config_file =
        s.config.extra.config_file.as_ref().map(|f| f.display().to_string()).unwrap_or_default();
    line!(p, "redis_version:{REDIS_VERSION}");
    line!(p, "redis_git_sha1:00000000");
    line!(p, "redis_git_dirty:0");
    line!(p, "redis_build_id:{}", env!("CARGO_PKG_VERSION"));
    line!(p, "redis_mode:{mode}");
    line!(p, "os:{}", super::process::system());
    line!(p, "arch_bits:{}", usize::BITS);
    line!(p, "monotonic_clock:POSIX clock_gettime");
    line!(p, "multiplexing_api:epoll");
    line!(p, "atomicvar_api:rust-builtin");
    line!(p, "gcc_version:0.0.0");
    line!(p, "process_id:{}", s.origins.pid);
    line!(p, "process_supervised:no");
    line!(p, "run_id:{}", s.run_id);
    line!(p, "tcp_port:{}", s.config.port);
    line!(p, "server_time_usec:{}", now.unix_ms * 1000);
    line!(p, "uptime_in_seconds:{uptime}");
    line!(p, "uptime_in_days:{}", uptime / 86_400);
    line!(p, "hz:{}", s.config.hz);
    line!(p, "configured_hz:{}", s.config.hz);
    line!(p, "lru_clock:{}", (now.unix_ms / 1000) & 0xff_ffff);
    line!(p, "executable:{}", s.origins.executable);
    line!(p, "config_file:{config_file}");
    line!(p, "io_threads_active:{}", flag(p.server.config.io_threads > 1));
    if s.shutdown.is_some_and(|s| !s.done) {
        let left = s.shutdown.map_or(0, |s| s.deadline_ms.saturating_sub(now.mono_ms()));
        line!(p, "shutdown_in_milliseconds:{left}");
    }
}

fn clients(p: &mut Page<'_>) {
    let s = p.server;
    let ordinary = s.clients.iter().filter(|c| !c.is_replica());
    let (mut count, mut input, mut output) = (0, 0, 0);
    for client in ordinary {
        count += 1;
        if let Some(c) = p.io.conn(client.conn) {
            input = input.max(c.input.len());
            output = output.max(c.output.pending());
        }
    }
    let timed = s.clients.iter().filter(|c| c.blocked.as_ref().is_some_and(|b| b.deadline_ms != 0)).count();
    line!(p, "connected_clients:{count}");
    line!(p, "cluster_connections:0");
    line!(p, "maxclients:{}", s.config.maxclients);
    line!(p, "client_recent_max_input_buffer:{input}");
    line!(p, "client_recent_max_output_buffer:{output}");
    line!(p, "blocked_clients:{}", s.blocked_clients);
    line!(p, "tracking_clients:{}", s.tracking.clients());
    line!(p, "clients_in_timeout_table:{timed}");
}

fn memory(p: &mut Page<'_>) {
    let s = p.server;
    let m = s.memory_figures(p.io);
    let total = super::process::total_memory();
    line!(p, "used_memory:{}", m.used);
    line!(p, "used_memory_human:{}", human(m.used));
    line!(p, "used_memory_rss:{}", m.resident);
    line!(p, "used_memory_rss_human:{}", human(m.resident));
    line!(p, "used_memory_peak:{}", m.peak);
    line!(p, "used_memory_peak_human:{}", human(m.peak));
    line!(p, "used_memory_peak_perc:{:.2}%", m.peak_percent());
    line!(p, "used_memory_overhead:{}", m.overhead());
    line!(p, "used_memory_startup:{}", m.startup);
    line!(p, "used_memory_dataset:{}", m.dataset());
    line!(p, "used_memory_dataset_perc:{:.2}%", m.dataset_percent());
    line!(p, "allocator_allocated:{}", m.used);
    line!(p, "allocator_active:{}", m.resident);
    line!(p, "allocator_resident:{}", m.resident);
    line!(p, "total_system_memory:{total}");
    line!(p, "total_system_memory_human:{}", human(total));
    let scripts = s.scripting.figures();
    line!(p, "used_memory_lua:{}", scripts.vm_eval);
    line!(p, "used_memory_vm_eval:{}", scripts.vm_eval);
    line!(p, "used_memory_lua_human:{}", human(scripts.vm_eval as u64));
    line!(p, "used_memory_scripts_eval:{}", scripts.scripts);
    line!(p, "number_of_cached_scripts:{}", scripts.cached);
    line!(p, "number_of_functions:{}", scripts.number_of_functions);
    line!(p, "number_of_libraries:{}", scripts.number_of_libraries);
    line!(p, "used_memory_vm_functions:{}", scripts.vm_functions);
    line!(p, "used_memory_vm_total:{}", scripts.vm_eval + scripts.vm_functions);
    line!(p, "used_memory_vm_total_human:{}", human((scripts.vm_eval + scripts.vm_functions) as u64));
    line!(p, "used_memory_functions:{}", scripts.functions);
    line!(p, "used_memory_scripts:{}", scripts.scripts + scripts.functions);
    line!(p, "used_memory_scripts_human:{}", human((scripts.scripts + scripts.functions) as u64));
    line!(p, "maxmemory:{}", s.config.maxmemory);
    line!(p, "maxmemory_human:{}", human(s.config.maxmemory));
    line!(p, "maxmemory_policy:{}", s.config.maxmemory_policy);
    line!(p, "allocator_frag_ratio:{:.2}", m.fragmentation());
    line!(p, "allocator_frag_bytes:{}", m.fragmentation_bytes());
    line!(p, "allocator_rss_ratio:1.00");
    line!(p, "allocator_rss_bytes:0");
    line!(p, "rss_overhead_ratio:1.00");
    line!(p, "rss_overhead_bytes:0");
    line!(p, "mem_fragmentation_ratio:{:.2}", m.fragmentation());
    line!(p, "mem_fragmentation_bytes:{}", m.fragmentation_bytes());
    line!(p, "mem_not_counted_for_evict:{}", m.not_counted);
    line!(p, "mem_replication_backlog:{}", m.backlog);
    line!(p, "mem_total_replication_buffers:{}", m.backlog + m.replicas);
    line!(p, "mem_clients_slaves:{}", m.replicas);
    line!(p, "mem_clients_normal:{}", m.clients);
    line!(p, "mem_cluster_links:0");
    line!(p, "mem_aof_buffer:{}", m.aof_buffer);
    line!(p, "mem_allocator:libc");
    line!(p, "active_defrag_running:0");
    line!(p, "lazyfree_pending_objects:{}", s.lazy.len());
    line!(p, "lazyfreed_objects:{}", s.stats.lazyfreed_objects);
}

fn persistence(p: &mut Page<'_>) {
    let f = p.server.persist_info();
    line!(p, "loading:{}", flag(f.loading));
    line!(p, "async_loading:{}", flag(f.async_loading));
    line!(p, "current_cow_peak:{}", f.current_cow_size);
    line!(p, "current_cow_size:{}", f.current_cow_size);
    line!(p, "current_cow_size_age:0");
    let percent = 100.0 * f.current_save_keys_processed as f64 / f.current_save_keys_total.max(1) as f64;
    line!(p, "current_fork_perc:{percent:.2}");
    line!(p, "current_save_keys_processed:{}", f.current_save_keys_processed);
    line!(p, "current_save_keys_total:{}", f.current_save_keys_total);
    line!(p, "rdb_changes_since_last_save:{}", f.rdb_changes_since_last_save);
    line!(p, "rdb_bgsave_in_progress:{}", flag(f.rdb_bgsave_in_progress));
    line!(p, "rdb_last_save_time:{}", f.rdb_last_save_time);
    line!(p, "rdb_last_bgsave_status:{}", status(f.rdb_last_bgsave_ok));
    line!(p, "rdb_last_bgsave_time_sec:{}", f.rdb_last_bgsave_time_sec);
    line!(p, "rdb_current_bgsave_time_sec:{}", f.rdb_current_bgsave_time_sec);
    line!(p, "rdb_saves:{}", f.rdb_saves);
    line!(p, "rdb_last_cow_size:{}", f.rdb_last_cow_size);
    line!(p, "rdb_last_load_keys_expired:{}", f.rdb_last_load_keys_expired);
    line!(p, "rdb_last_load_keys_loaded:{}", f.rdb_last_load_keys_loaded);
    line!(p, "aof_enabled:{}", flag(f.aof_enabled));
    line!(p, "aof_rewrite_in_progress:{}", flag(f.aof_rewrite_in_progress));
    line!(p, "aof_rewrite_scheduled:{}", flag(f.aof_rewrite_scheduled));
    line!(p, "aof_last_rewrite_time_sec:{}", f.aof_last_rewrite_time_sec);
    line!(p, "aof_current_rewrite_time_sec:{}", f.aof_current_rewrite_time_sec);
    line!(p, "aof_last_bgrewrite_status:{}", status(f.aof_last_bgrewrite_ok));
    line!(p, "aof_rewrites:{}", f.aof_rewrites);
    line!(p, "aof_rewrites_consecutive_failures:{}", f.aof_rewrites_consecutive_failures);
    line!(p, "aof_last_write_status:{}", status(f.aof_last_write_ok));
    line!(p, "aof_last_cow_size:{}", f.aof_last_cow_size);
    line!(p, "module_fork_in_progress:0");
    line!(p, "module_fork_last_cow_size:0");
    if f.aof_enabled {
        line!(p, "aof_current_size:{}", f.aof_current_size);
        line!(p, "aof_base_size:{}", f.aof_base_size);
        line!(p, "aof_pending_rewrite:{}", flag(f.aof_pending_rewrite));
        line!(p, "aof_buffer_length:{}", f.aof_buffer_length);
        line!(p, "aof_pending_bio_fsync:{}", f.aof_pending_bio_fsync);
        line!(p, "aof_delayed_fsync:{}", f.aof_delayed_fsync);
    }
    if f.loading || f.async_loading {
        let percent = 100.0 * f.loading_loaded_bytes as f64 / f.loading_total_bytes.max(1) as f64;
        let elapsed = (p.io.now.unix_ms / 1000 - f.loading_start_time).max(0);
        let eta = if percent > 0.0 { (elapsed as f64 * (100.0 - percent) / percent) as i64 } else { 1 };
        line!(p, "loading_start_time:{}", f.loading_start_time);
        line!(p, "loading_total_bytes:{}", f.loading_total_bytes);
        line!(p, "loading_rdb_used_mem:0");
        line!(p, "loading_loaded_bytes:{}", f.loading_loaded_bytes);
        line!(p, "loading_loaded_perc:{percent:.2}");
        line!(p, "loading_eta_seconds:{eta}");
    }
}

fn stats(p: &mut Page<'_>) {
    let (s, pubsub) = (&p.server.stats, &p.server.pubsub);
    line!(p, "total_connections_received:{}", s.connections_received);
    line!(p, "total_commands_processed:{}", s.commands_processed);
    line!(p, "instantaneous_ops_per_sec:{}", s.ops_per_sec);
    line!(p, "total_net_input_bytes:{}", s.input_bytes);
    line!(p, "total_net_output_bytes:{}", s.output_bytes);
    line!(p, "total_net_repl_input_bytes:{}", s.repl_input_bytes);
    line!(p, "total_net_repl_output_bytes:{}", s.repl_output_bytes);
    line!(p, "instantaneous_input_kbps:{:.2}", s.input_kbps);
    line!(p, "instantaneous_output_kbps:{:.2}", s.output_kbps);
    line!(p, "instantaneous_input_repl_kbps:{:.2}", s.repl_input_kbps);
    line!(p, "instantaneous_output_repl_kbps:{:.2}", s.repl_output_kbps);
    line!(p, "rejected_connections:{}", s.rejected_connections);
    line!(p, "sync_full:{}", s.sync_full);
    line!(p, "sync_partial_ok:{}", s.sync_partial_ok);
    line!(p, "sync_partial_err:{}", s.sync_partial_err);
    line!(p, "expired_keys:{}", s.expired_keys);
    line!(p, "expired_stale_perc:0.00");
    line!(p, "expired_time_cap_reached_count:{}", s.expire_cycle_cut_short);
    line!(p, "expire_cycle_cpu_milliseconds:{}", s.expire_cycle_us / 1000);
    line!(p, "evicted_keys:{}", s.evicted_keys);
    line!(p, "evicted_clients:{}", s.evicted_clients);
    line!(p, "total_eviction_exceeded_time:0");
    line!(p, "current_eviction_exceeded_time:0");
    line!(p, "keyspace_hits:{}", s.keyspace_hits);
    line!(p, "keyspace_misses:{}", s.keyspace_misses);
    line!(p, "pubsub_channels:{}", pubsub.names(Kind::Channel).len());
    line!(p, "pubsub_patterns:{}", pubsub.names(Kind::Pattern).len());
    line!(p, "pubsubshard_channels:{}", pubsub.names(Kind::Shard).len());
    // Snapshots are taken without a fork.
    line!(p, "latest_fork_usec:0");
    line!(p, "total_forks:{}", s.snapshots);
    line!(p, "migrate_cached_sockets:{}", p.server.migrations.kept());
    line!(p, "slave_expires_tracked_keys:{}", p.server.own_expires.len());
    line!(p, "active_defrag_hits:0");
    line!(p, "active_defrag_misses:0");
    line!(p, "active_defrag_key_hits:0");
    line!(p, "active_defrag_key_misses:0");
    line!(p, "total_active_defrag_time:0");
    line!(p, "current_active_defrag_time:0");
    line!(p, "tracking_total_keys:{}", p.server.tracking.keys());
    line!(p, "tracking_total_items:{}", p.server.tracking.items());
    line!(p, "tracking_total_prefixes:{}", p.server.tracking.prefixes());
    line!(p, "unexpected_error_replies:{}", s.unexpected_errors);
    line!(p, "total_error_replies:{}", s.total_errors);
    line!(p, "dump_payload_sanitizations:0");
    line!(p, "total_reads_processed:{}", s.reads);
    line!(p, "total_writes_processed:{}", s.writes);
    line!(p, "io_threaded_reads_processed:{}", s.threaded_reads);
    line!(p, "io_threaded_writes_processed:{}", s.threaded_writes);
    line!(p, "reply_buffer_shrinks:0");
    line!(p, "reply_buffer_expands:0");
    line!(p, "client_output_buffer_limit_disconnections:{}", s.clients_closed_by_output);
}

fn replication(p: &mut Page<'_>) {
    let s = p.server;
    let (r, now) = (&s.repl, p.io.now.mono_ms());
    // Under a shard map a node that nobody has made master yet must not be taken for one.
    line!(p, "role:{}", if s.is_master() { "master" } else { "slave" });
    if let Some(link) = &r.link {
        let up = link.is_online();
        let last_io = if up { (now.saturating_sub(link.last_io_ms) / 1000) as i64 } else { -1 };
        line!(p, "master_host:{}", link.host);
        line!(p, "master_port:{}", link.port);
        line!(p, "master_link_status:{}", if up { "up" } else { "down" });
        line!(p, "master_last_io_seconds_ago:{last_io}");
        line!(p, "master_sync_in_progress:{}", flag(link.is_syncing()));
        let unapplied = link.conn().filter(|_| up).and_then(|c| p.io.conn(c)).map_or(0, |c| c.input.len());
        line!(p, "slave_read_repl_offset:{}", r.offset() + unapplied as u64);
        line!(p, "slave_repl_offset:{}", r.offset());
        if let Some((received, left)) = link.progress() {
            let total = left.map(|left| left + received);
            let percent = total.map_or(0.0, |t| 100.0 * received as f64 / t.max(1) as f64);
            let idle = now.saturating_sub(link.last_io_ms) / 1000;
            line!(p, "master_sync_total_bytes:{}", total.map_or(-1, |t| t as i64));
            line!(p, "master_sync_read_bytes:{received}");
            line!(p, "master_sync_left_bytes:{}", left.map_or(-1, |l| l as i64));
            line!(p, "master_sync_perc:{percent:.2}");
            line!(p, "master_sync_last_io_seconds_ago:{idle}");
        }
        if !up {
            line!(p, "master_link_down_since_seconds:{}", now.saturating_sub(link.down_since_ms) / 1000);
        }
    } else if !s.is_master() {
        line!(p, "master_host:");
        line!(p, "master_port:0");
        line!(p, "master_link_status:down");
        line!(p, "master_last_io_seconds_ago:-1");
        line!(p, "master_sync_in_progress:0");
        line!(p, "slave_read_repl_offset:{}", r.offset());
        line!(p, "slave_repl_offset:{}", r.offset());
        line!(p, "master_link_down_since_seconds:{}", now.saturating_sub(s.started.mono_ms()) / 1000);
    }
    if !s.is_master() {
        line!(p, "slave_priority:{}", s.config.replica_priority);
        line!(p, "slave_read_only:{}", flag(s.config.replica_read_only));
        line!(p, "replica_announced:{}", flag(s.config.replica_announced));
    }
    line!(p, "connected_slaves:{}", r.replicas.len());
    if s.config.min_replicas_to_write > 0 && s.config.min_replicas_max_lag > 0 {
        line!(p, "min_slaves_good_slaves:{}", r.good_replicas(&s.clients, &s.config, p.io.now));
    }
    let acks = s.write_acks();
    if acks.holds() && s.is_master() {
        let waits = s.held_for(p.io).unwrap_or_default();
        line!(p, "write_ack_replicas:{}", acks.replicas);
        line!(p, "write_ack_fsync:{}", flag(acks.fsync));
        line!(p, "write_ack_held_replies:{}", s.held_replies());
        line!(p, "write_ack_oldest_ms:{}", waits.ms);
        line!(p, "write_ack_missing_replicas:{}", waits.replicas);
        line!(p, "write_ack_missing_own_fsync:{}", flag(waits.own_fsync));
    }
    let replicas = r.replicas.iter().filter_map(|&c| s.clients.get(c)?.replica.as_deref());
    for (i, replica) in replicas.enumerate() {
        let state = replica.stage.name();
        let lag = match replica.stage {
            Stage::Online => now.saturating_sub(replica.acked_at_ms) / 1000,
            _ => 0,
        };
        let durable = match (acks.fsync, replica.acked_durable) {
            (false, _) => String::new(),
            (true, None) => ",fsynced=none".into(),
            (true, Some(offset)) => format!(",fsynced={offset}"),
        };
        line!(
            p,
            "slave{i}:ip={},port={},state={state},offset={},lag={lag}{durable}",
            replica.announced,
            replica.port,
            replica.acked
        );
    }
    let failover = r.failover.as_ref().map_or("no-failover", |f| f.state_name());
    line!(p, "master_failover_state:{failover}");
    line!(p, "master_replid:{}", r.id);
    line!(p, "master_replid2:{}", r.id2);
    line!(p, "master_repl_offset:{}", r.offset());
    line!(p, "second_repl_offset:{}", if r.second_offset == 0 { -1 } else { r.second_offset as i64 });
    line!(p, "repl_backlog_active:{}", flag(r.has_backlog()));
    line!(p, "repl_backlog_size:{}", s.config.repl_backlog_size);
    line!(p, "repl_backlog_first_byte_offset:{}", r.backlog().map_or(0, |b| b.start()));
    line!(p, "repl_backlog_histlen:{}", r.backlog().map_or(0, |b| b.len()));
}

fn cpu(p: &mut Page<'_>) {
    let t = super::process::cpu_times();
    line!(p, "used_cpu_sys:{:.6}", t.system);
    line!(p, "used_cpu_user:{:.6}", t.user);
    line!(p, "used_cpu_sys_children:0.000000");
    line!(p, "used_cpu_user_children:0.000000");
    line!(p, "used_cpu_sys_main_thread:{:.6}", t.main_system);
    line!(p, "used_cpu_user_main_thread:{:.6}", t.main_user);
}

fn commandstats(p: &mut Page<'_>) {
    for (name, c) in p.server.stats.commands.iter() {
        let usec = c.nanos / 1000;
        let per_call = if c.calls == 0 { 0.0 } else { c.nanos as f64 / 1000.0 / c.calls as f64 };
        line!(
            p,
            "cmdstat_{name}:calls={},usec={usec},usec_per_call={per_call:.2},rejected_calls={},failed_calls={}",
            c.calls,
            c.rejected,
            c.failed
        );
    }
}

fn errorstats(p: &mut Page<'_>) {
    for (code, n) in &p.server.stats.errors {
        line!(p, "errorstat_{code}:count={n}");
    }
}

fn latencystats(p: &mut Page<'_>) {
    let percentiles = &p.server.config.latency_tracking_info_percentiles;
    for (name, c) in p.server.stats.commands.iter() {
        let Some(latency) = &c.latency else { continue };
        let values: Vec<String> = percentiles
            .iter()
            .map(|&percent| format!("p{percent}={:.3}", latency.percentile(percent) as f64 / 1000.0))
            .collect();
        line!(p, "latency_percentiles_usec_{name}:{}", values.join(","));
    }
}

fn cluster(p: &mut Page<'_>) {
    line!(p, "cluster_enabled:{}", flag(p.server.config.cluster_enabled));
}

fn keyspace(p: &mut Page<'_>) {
    let k = &p.server.keyspace;
    for db in (0..k.databases()).filter(|&db| k.len(db) > 0) {
        let ttl = k.avg_ttl_ms(db, p.io.now.unix_ms);
        line!(p, "db{db}:keys={},expires={},avg_ttl={ttl}", k.len(db), k.expires(db));
    }
}

#[cfg(test)]
mod tests {
    use super::human;

    #[test]
    fn bytes_are_shortened_as_in_redis() {
        for (bytes, text) in
            [(0, "0B"), (1023, "1023B"), (1024, "1.00K"), (1_015_136, "991.34K"), (25_276_514_304, "23.54G")]
        {
            assert_eq!(human(bytes), text);
        }
    }
}
