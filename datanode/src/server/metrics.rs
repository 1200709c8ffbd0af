//! Figures for `/metrics`, by redis_exporter's names (<https://github.com/oliver006/redis_exporter>) so that existing
//! dashboards work, and what `/readyz` answers.

use std::fmt::{Display, Write};

use super::Server;
use crate::config::REDIS_VERSION;
use crate::io::Io;
use crate::replication::Stage;

pub use crate::net::http::Board;

/// A page of figures in Prometheus' text format.
#[derive(Default)]
struct Page(String);

impl Page {
    fn one(&mut self, kind: &str, name: &str, value: impl Display) {
        self.many(kind, name, [(String::new(), value)]);
    }

    /// Figures of one name that differ in their labels.
    fn many<V: Display>(&mut self, kind: &str, name: &str, values: impl IntoIterator<Item = (String, V)>) {
        let mut values = values.into_iter().peekable();
        if values.peek().is_none() {
            return;
        }
        // Writing to a string cannot fail.
        let _ = writeln!(self.0, "# TYPE redis_{name} {kind}");
        for (labels, value) in values {
            let _ = match labels.is_empty() {
                true => writeln!(self.0, "redis_{name} {value}"),
                false => writeln!(self.0, "redis_{name}{{{labels}}} {value}"),
            };
        }
    }

    fn gauge(&mut self, name: &str, value: impl Display) {
        self.one("gauge", name, value);
    }

    fn counter(&mut self, name: &str, value: impl Display) {
        self.one("counter", name, value);
    }
}

/// A label's value, quoted.
fn label(name: &str, value: &str) -> String {
    let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    format!("{name}=\"{value}\"")
}

fn bit(b: bool) -> u8 {
    u8::from(b)
}

impl Server {
    /// Shows the present state to probes and scrapers. Called once a second, and wherever the role changes.
    pub fn publish_metrics(&mut self, io: &mut Io) {
        if let Some(board) = self.metrics.clone() {
            board.publish(self.readiness(), self.figures(io));
        }
    }

    /// Whether clients may be sent here: a master that takes writes, or a replica whose master's stream is flowing.
    pub fn readiness(&self) -> Result<(), String> {
        if self.loading {
            return Err("the data is being loaded".into());
        }
        if self.shutdown.is_some() {
            return Err("it is shutting down".into());
        }
        if self.repl.link.is_some() {
            return match self.repl.link_is_up() {
                true => Ok(()),
                false => Err("replica without a link to its master".into()),
            };
        }
        if !self.is_master() {
            return Err("nobody has said yet who is master".into());
        }
        if let Some(text) = self.write_refusal() {
            return Err(text);
        }
        Ok(())
    }

    fn figures(&mut self, io: &mut Io) -> String {
        let mut p = Page::default();
        self.refresh_memory();
        let master = self.is_master();
        let mode = if self.config.cluster_enabled { "cluster" } else { "standalone" };
        let role = if master { "master" } else { "slave" };
        p.gauge("up", 1);
        let labels = [
            label("role", role),
            label("redis_version", REDIS_VERSION),
            label("redis_mode", mode),
            label("run_id", &self.run_id),
            label("tcp_port", &self.config.port.to_string()),
            label("os", &super::process::system()),
            label("maxmemory_policy", &self.config.maxmemory_policy.to_string()),
        ];
        p.many("gauge", "instance_info", [(labels.join(","), 1)]);
        let uptime = io.now.mono_us.saturating_sub(self.started.mono_us) / 1_000_000;
        p.gauge("uptime_in_seconds", uptime);
        p.gauge("start_time_seconds", self.started.unix_ms / 1000);
        p.gauge("process_id", self.origins.pid);
        self.client_figures(&mut p, io);
        self.persist_figures(&mut p);
        self.stats_figures(&mut p);
        self.replication_figures(&mut p, io);
        let cpu = super::process::cpu_times();
        p.counter("cpu_sys_seconds_total", cpu.system);
        p.counter("cpu_user_seconds_total", cpu.user);
        let dbs = || (0..self.keyspace.databases()).map(|db| (label("db", &format!("db{db}")), db));
        p.many("gauge", "db_keys", dbs().map(|(l, db)| (l, self.keyspace.len(db))));
        p.many("gauge", "db_keys_expiring", dbs().map(|(l, db)| (l, self.keyspace.expires(db))));
        let ttl = |db: usize| self.keyspace.avg_ttl_ms(db, io.now.unix_ms) as f64 / 1000.0;
        let expiring = dbs().filter(|(_, db)| self.keyspace.expires(*db) > 0);
        p.many("gauge", "db_avg_ttl_seconds", expiring.map(|(l, db)| (l, ttl(db))));
        p.gauge("cluster_enabled", bit(self.config.cluster_enabled));
        p.counter("slowlog_last_id", self.slowlog.last_id());
        p.gauge("slowlog_length", self.slowlog.entries().len());
        p.0
    }

    fn client_figures(&self, p: &mut Page, io: &mut Io) {
        let ordinary = self.clients.iter().filter(|c| !c.is_replica()).count();
        p.gauge("connected_clients", ordinary);
        p.gauge("blocked_clients", self.blocked_clients);
        p.gauge("config_maxclients", self.config.maxclients);
        p.gauge("config_maxmemory", self.config.maxmemory);
        let m = self.memory_figures(io);
        p.gauge("memory_used_bytes", m.used);
        p.gauge("memory_used_rss_bytes", m.resident);
        p.gauge("memory_used_peak_bytes", m.peak);
        p.gauge("memory_used_overhead_bytes", m.overhead());
        p.gauge("memory_used_startup_bytes", m.startup);
        p.gauge("memory_used_dataset_bytes", m.dataset());
        p.gauge("memory_max_bytes", self.config.maxmemory);
        p.gauge("mem_fragmentation_ratio", m.fragmentation());
        p.gauge("mem_clients_normal", m.clients);
        p.gauge("mem_clients_slaves", m.replicas);
        p.gauge("mem_not_counted_for_eviction_bytes", m.not_counted);
    }

    fn persist_figures(&self, p: &mut Page) {
        let f = self.persist_info();
        p.gauge("loading_dump_file", bit(f.loading));
        p.gauge("rdb_changes_since_last_save", f.rdb_changes_since_last_save);
        p.gauge("rdb_bgsave_in_progress", bit(f.rdb_bgsave_in_progress));
        p.gauge("rdb_last_save_timestamp_seconds", f.rdb_last_save_time);
        p.gauge("rdb_last_bgsave_status", bit(f.rdb_last_bgsave_ok));
        p.gauge("rdb_last_bgsave_duration_sec", f.rdb_last_bgsave_time_sec);
        p.gauge("rdb_current_bgsave_duration_sec", f.rdb_current_bgsave_time_sec);
        p.gauge("aof_enabled", bit(f.aof_enabled));
        p.gauge("aof_rewrite_in_progress", bit(f.aof_rewrite_in_progress));
        p.gauge("aof_rewrite_scheduled", bit(f.aof_rewrite_scheduled));
        p.gauge("aof_last_rewrite_duration_sec", f.aof_last_rewrite_time_sec);
        p.gauge("aof_current_rewrite_duration_sec", f.aof_current_rewrite_time_sec);
        p.gauge("aof_last_bgrewrite_status", bit(f.aof_last_bgrewrite_ok));
        p.gauge("aof_last_write_status", bit(f.aof_last_write_ok));
        if f.aof_enabled {
            p.gauge("aof_current_size_bytes", f.aof_current_size);
            p.gauge("aof_base_size_bytes", f.aof_base_size);
            p.gauge("aof_pending_rewrite", bit(f.aof_pending_rewrite));
            p.gauge("aof_buffer_length", f.aof_buffer_length);
            p.gauge("aof_pending_bio_fsync", f.aof_pending_bio_fsync);
            p.gauge("aof_delayed_fsync", f.aof_delayed_fsync);
        }
    }

    fn stats_figures(&self, p: &mut Page) {
        use super::pubsub::Kind;
        let s = &self.stats;
        p.counter("connections_received_total", s.connections_received);
        p.counter("rejected_connections_total", s.rejected_connections);
        p.counter("commands_processed_total", s.commands_processed);
        p.gauge("instantaneous_ops_per_sec", s.ops_per_sec);
        p.counter("net_input_bytes_total", s.input_bytes);
        p.counter("net_output_bytes_total", s.output_bytes);
        p.counter("keyspace_hits_total", s.keyspace_hits);
        p.counter("keyspace_misses_total", s.keyspace_misses);
        p.counter("expired_keys_total", s.expired_keys);
        p.counter("evicted_keys_total", s.evicted_keys);
        p.gauge("pubsub_channels", self.pubsub.names(Kind::Channel).len());
        p.gauge("pubsub_patterns", self.pubsub.names(Kind::Pattern).len());
        p.counter("replica_resyncs_full", s.sync_full);
        p.counter("replica_partial_resync_accepted", s.sync_partial_ok);
        p.counter("replica_partial_resync_denied", s.sync_partial_err);
        p.counter("unexpected_error_replies", s.unexpected_errors);
        p.counter("total_error_replies", s.total_errors);
        p.many("counter", "errors_total", s.errors.iter().map(|(code, n)| (label("err", code), n)));
        let each = || s.commands.iter().map(|(name, c)| (label("cmd", name), c));
        p.many("counter", "commands_total", each().map(|(l, c)| (l, c.calls)));
        p.many("counter", "commands_duration_seconds_total", each().map(|(l, c)| (l, c.nanos as f64 / 1e9)));
        p.many("counter", "commands_rejected_calls_total", each().map(|(l, c)| (l, c.rejected)));
        p.many("counter", "commands_failed_calls_total", each().map(|(l, c)| (l, c.failed)));
    }

    fn replication_figures(&self, p: &mut Page, io: &Io) {
        let (r, now) = (&self.repl, io.now.mono_ms());
        let replicas = || r.replicas.iter().filter_map(|&c| self.clients.get(c)?.replica.as_deref());
        p.gauge("connected_slaves", r.replicas.len());
        p.gauge("write_ack_held_replies", self.held_replies());
        p.gauge("master_repl_offset", r.offset());
        p.gauge("second_repl_offset", if r.second_offset == 0 { -1 } else { r.second_offset as i64 });
        p.gauge("repl_backlog_is_active", bit(r.has_backlog()));
        p.gauge("replication_backlog_bytes", self.config.repl_backlog_size);
        p.gauge("repl_backlog_first_byte_offset", r.backlog().map_or(0, |b| b.start()));
        p.gauge("repl_backlog_history_bytes", r.backlog().map_or(0, |b| b.len()));
        let labelled = || {
            replicas().map(|replica| {
                let state = if replica.stage == Stage::Online { "online" } else { "wait_bgsave" };
                let port = replica.port.to_string();
                let labels = [
                    label("slave_ip", &replica.announced),
                    label("slave_port", &port),
                    label("slave_state", state),
                ];
                (labels.join(","), replica)
            })
        };
        p.many("gauge", "connected_slave_offset_bytes", labelled().map(|(l, r)| (l, r.acked)));
        let lag = |acked_at_ms: u64| now.saturating_sub(acked_at_ms) as f64 / 1000.0;
        p.many("gauge", "connected_slave_lag_seconds", labelled().map(|(l, r)| (l, lag(r.acked_at_ms))));
        if let Some(link) = &r.link {
            let port = link.port.to_string();
            let labels = [label("master_host", &link.host), label("master_port", &port)].join(",");
            let silence =
                if link.is_online() { (now.saturating_sub(link.last_io_ms) / 1000) as i64 } else { -1 };
            p.many("gauge", "master_link_up", [(labels.clone(), bit(link.is_online()))]);
            p.many("gauge", "master_last_io_seconds_ago", [(labels.clone(), silence)]);
            p.many("gauge", "master_sync_in_progress", [(labels.clone(), bit(link.is_syncing()))]);
            p.many("gauge", "slave_repl_offset", [(labels, r.offset())]);
        }
        if !self.is_master() {
            p.gauge("slave_priority", self.config.replica_priority);
            p.gauge("slave_info_read_only", bit(self.config.replica_read_only));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_have_one_type_line_and_quoted_labels() {
        let mut p = Page::default();
        p.gauge("up", 1);
        p.many("counter", "x_total", [(label("a", "q\"\\"), 1), (label("a", "b"), 2)]);
        p.many("gauge", "none", Vec::<(String, u8)>::new());
        assert_eq!(
            p.0,
            "# TYPE redis_up gauge\nredis_up 1\n# TYPE redis_x_total counter\nredis_x_total{a=\"q\\\"\\\\\"} \
             1\nredis_x_total{a=\"b\"} 2\n"
        );
    }
}
