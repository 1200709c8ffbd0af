//! Logs, and the operator's own metrics and probes over HTTP: `/metrics`, `/livez`, `/readyz`.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tracing::{info, warn};
use tracing_subscriber::EnvFilter;

/// Time for one request.
const REQUEST: Duration = Duration::from_secs(5);
/// Longest request that is read, bytes.
const MAX_REQUEST: usize = 8 << 10;
/// Requests served at the same time.
const MAX_CONNECTIONS: usize = 32;

/// The caches are filled: decisions can be made.
static READY: AtomicBool = AtomicBool::new(false);
static METRICS: LazyLock<Mutex<BTreeMap<Metric, BTreeMap<String, f64>>>> = LazyLock::new(Mutex::default);

/// What is counted or measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Metric {
    /// Looks at resources, by result.
    Reconciles,
    /// Seconds spent on them.
    ReconcileSeconds,
    /// How many of them were timed.
    ReconcileCount,
    /// Changes of master that were seen.
    Failovers,
    /// Actions, by name and result.
    Actions,
    /// Resources.
    Resources,
    /// Whether a resource is ready.
    Ready,
    /// Whether a resource's data is at risk.
    DataAtRisk,
    /// Epoch of a shard.
    Epoch,
    /// Whether this process leads.
    Leading,
}

impl Metric {
    fn describe(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::Reconciles => ("rrs_reconcile_total", "counter", "Looks at resources, by result."),
            Self::ReconcileSeconds => {
                ("rrs_reconcile_duration_seconds_sum", "counter", "Time spent on looks at resources.")
            }
            Self::ReconcileCount => {
                ("rrs_reconcile_duration_seconds_count", "counter", "Looks at resources that were timed.")
            }
            Self::Failovers => {
                ("rrs_failovers_total", "counter", "Changes of a shard's master that were seen.")
            }
            Self::Actions => ("rrs_actions_total", "counter", "Actions carried out, by name and result."),
            Self::Resources => ("rrs_resources", "gauge", "Resources that are looked after."),
            Self::Ready => ("rrs_instance_ready", "gauge", "1 if the resource is ready."),
            Self::DataAtRisk => ("rrs_data_at_risk", "gauge", "1 if a decision about data needs a person."),
            Self::Epoch => ("rrs_shard_epoch", "gauge", "Epoch of the shard's master."),
            Self::Leading => ("rrs_operator_leading", "gauge", "1 if this operator leads."),
        }
    }
}

/// Adds to a counter.
pub fn add(metric: Metric, labels: &[(&str, &str)], by: f64) {
    let mut metrics = METRICS.lock().unwrap_or_else(PoisonError::into_inner);
    *metrics.entry(metric).or_default().entry(label_text(labels)).or_default() += by;
}

/// Sets a gauge.
pub fn set(metric: Metric, labels: &[(&str, &str)], to: f64) {
    let mut metrics = METRICS.lock().unwrap_or_else(PoisonError::into_inner);
    metrics.entry(metric).or_default().insert(label_text(labels), to);
}

/// Forgets the gauges of a resource.
pub fn forget(namespace: &str, name: &str) {
    let ours = label_text(&[("namespace", namespace), ("name", name)]);
    let mut metrics = METRICS.lock().unwrap_or_else(PoisonError::into_inner);
    for series in metrics.values_mut() {
        series.retain(|labels, _| !labels.starts_with(&ours));
    }
}

/// Says that decisions can be made.
pub fn ready() {
    READY.store(true, Ordering::Relaxed);
}

/// Sets up the log: `format` is `json` or `text`; left out, it is text where standard error is a terminal's.
pub fn log(format: Option<&str>) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info,kube=warn"));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let text = match format {
        Some(format) => format == "text",
        None => std::io::IsTerminal::is_terminal(&std::io::stderr()),
    };
    if text {
        builder.init();
    } else {
        builder.json().flatten_event(true).with_span_list(false).init();
    }
}

/// Serves HTTP for as long as the process lives.
///
/// # Errors
/// Where the port cannot be had.
pub async fn serve(port: u16) -> std::io::Result<()> {
    let listener = TcpListener::bind(("::", port)).await;
    let listener = match listener {
        Ok(listener) => listener,
        // A host without IPv6.
        Err(_) => TcpListener::bind(("0.0.0.0", port)).await?,
    };
    info!(port, "serving /metrics, /livez and /readyz");
    let places = std::sync::Arc::new(Semaphore::new(MAX_CONNECTIONS));
    tokio::spawn(async move {
        loop {
            let Ok(place) = places.clone().acquire_owned().await else { return };
            match listener.accept().await {
                Ok((stream, _)) => {
                    tokio::spawn(async move {
                        let _ = timeout(REQUEST, answer(stream)).await;
                        drop(place);
                    });
                }
                Err(error) => {
                    warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    });
    Ok(())
}

async fn answer(mut stream: TcpStream) -> std::io::Result<()> {
    let mut request = Vec::new();
    while !request.windows(4).any(|four| four == b"\r\n\r\n") {
        if request.len() > MAX_REQUEST || stream.read_buf(&mut request).await? == 0 {
            return Ok(());
        }
    }
    let line = String::from_utf8_lossy(&request);
    let mut words = line.split_whitespace();
    let (status, body) = match (words.next(), words.next()) {
        (Some("GET"), Some("/livez")) => ("200 OK", "ok\n".to_owned()),
        (Some("GET"), Some("/readyz")) if READY.load(Ordering::Relaxed) => ("200 OK", "ok\n".to_owned()),
        (Some("GET"), Some("/readyz")) => {
            ("503 Service Unavailable", "the caches are not filled yet\n".to_owned())
        }
        (Some("GET"), Some("/metrics")) => ("200 OK", exposition()),
        (Some("GET"), _) => ("404 Not Found", "try /metrics, /livez or /readyz\n".to_owned()),
        _ => ("405 Method Not Allowed", "only GET\n".to_owned()),
    };
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain; version=0.0.4\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(body.as_bytes()).await?;
    stream.shutdown().await
}

/// All metrics as Prometheus reads them, those of the process included.
fn exposition() -> String {
    let mut text = String::new();
    for (metric, series) in METRICS.lock().unwrap_or_else(PoisonError::into_inner).iter() {
        let (name, kind, help) = metric.describe();
        let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
        for (labels, value) in series {
            let labels = if labels.is_empty() { String::new() } else { format!("{{{labels}}}") };
            let _ = writeln!(text, "{name}{labels} {value}");
        }
    }
    if let Some(bytes) = resident_bytes() {
        let name = "process_resident_memory_bytes";
        let _ = writeln!(text, "# HELP {name} Memory of the process.\n# TYPE {name} gauge\n{name} {bytes}");
    }
    text
}

fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
}

fn label_text(labels: &[(&str, &str)]) -> String {
    let escaped = |value: &str| value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    labels.iter().map(|(name, value)| format!("{name}=\"{}\"", escaped(value))).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn metrics_over_http() {
        add(Metric::Actions, &[("action", "offer"), ("result", "ok")], 2.0);
        set(Metric::Epoch, &[("namespace", "a"), ("name", "gone")], 3.0);
        forget("a", "gone");
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        let server = tokio::spawn(async move { answer(listener.accept().await.unwrap().0).await });
        let mut client = TcpStream::connect(at).await.unwrap();
        client.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        let mut text = String::new();
        client.read_to_string(&mut text).await.unwrap();
        server.await.unwrap().unwrap();
        assert!(text.starts_with("HTTP/1.1 200 OK\r\n"), "{text}");
        assert!(text.contains("rrs_actions_total{action=\"offer\",result=\"ok\"} 2\n"), "{text}");
        assert!(!text.contains("gone"), "{text}");
    }
}
