//! The binary with many names: data server, sentinel, the client, and the tools that check files.

use std::io::Read;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use datanode::config::{Config, Mode, Source};
use datanode::disk::RealDisk;
use datanode::io::{Io, Now};
use datanode::net::{self, Listeners};
use datanode::sentinel::Sentinel;
use datanode::server::metrics::Board;
use datanode::server::{Origins, Server, alloc};
use datanode::{check, cli};

#[global_allocator]
static ALLOCATOR: alloc::Allocator = alloc::Allocator;

fn main() {
    let mut args: Vec<String> = std::env::args().collect();
    let program = args.remove(0);
    let name = program.rsplit('/').next().unwrap_or_default();
    match (name, args.first().map(String::as_str)) {
        ("redis-check-rdb", _) => std::process::exit(check::rdb_main(&args)),
        ("redis-check-aof", _) => std::process::exit(check::aof_main(&args)),
        ("redis-cli", _) => std::process::exit(cli::main(&args)),
        (_, Some("cli")) => std::process::exit(cli::main(&args[1..])),
        (_, Some("check-rdb")) => std::process::exit(check::rdb_main(&args[1..])),
        (_, Some("check-aof")) => std::process::exit(check::aof_main(&args[1..])),
        _ => {}
    }
    // In the image the first word says what to be; elsewhere the program's name does.
    let mode = match args.first().map(String::as_str) {
        Some("server") => {
            args.remove(0);
            Mode::Server
        }
        Some("sentinel") => {
            args.remove(0);
            Mode::Sentinel
        }
        _ => Mode::of(&program, &args),
    };
    let code = match mode {
        Mode::Server => serve(&program, &args),
        Mode::Sentinel => watch(&args),
    };
    match code {
        Ok(code) => std::process::exit(code),
        Err(text) => {
            eprintln!("{text}");
            std::process::exit(1);
        }
    }
}

/// Reads the configuration that the arguments name.
fn load(mode: Mode, args: &[String]) -> Result<Config, String> {
    let cwd = std::env::current_dir().map_err(|e| format!("no current directory: {e}"))?;
    let stdin = || {
        let mut text = Vec::new();
        std::io::stdin().read_to_end(&mut text)?;
        Ok(text)
    };
    let is_command = |name: &str| datanode::command::table::named(name).is_some();
    let source = Source { mode, args, disk: &RealDisk, cwd: &cwd, stdin: &stdin, is_command: &is_command };
    Config::load(&source).map_err(|e| e.to_string())
}

/// The time before the event loop has one.
fn start_time() -> Now {
    let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Now { mono_us: 1_000_000, unix_ms: unix.as_millis() as i64 }
}

fn serve(program: &str, args: &[String]) -> Result<i32, String> {
    // This thread will own the data.
    alloc::adopt();
    let config = load(Mode::Server, args)?;
    // Silently less protection than was asked for would be worse than no start.
    for (lines, directive) in
        [(config.extra.rename_commands.len(), "rename-command"), (config.extra.users.len(), "user")]
    {
        if lines > 0 {
            return Err(format!("Fatal config error: '{directive}' lines are not supported yet"));
        }
    }
    datanode::logging::init(&config);
    let listeners = Listeners::bind(&config.bind, config.port).map_err(|e| e.to_string())?;
    let origins = Origins { executable: program.to_owned(), pid: std::process::id() };
    let now = start_time();
    let seed = net::random_seed();
    let mut server = Server::new(config, Arc::new(RealDisk), seed, now, origins)?;
    tracing::info!("Server initialized");
    let mut io = Io::default();
    io.now = now;
    server.metrics = board(server.config.metrics_port)?;
    server.start(&mut io)?;
    tracing::info!("Ready to accept connections");
    net::run(&mut server, listeners, io).map_err(|e| format!("the event loop failed: {e}"))
}

/// Serves probes and metrics, where a port is configured.
fn board(port: u16) -> Result<Option<Arc<Board>>, String> {
    if port == 0 {
        return Ok(None);
    }
    let board = Arc::new(Board::default());
    net::http::serve(port, board.clone()).map_err(|e| format!("cannot serve metrics on port {port}: {e}"))?;
    Ok(Some(board))
}

fn watch(args: &[String]) -> Result<i32, String> {
    let config = load(Mode::Sentinel, args)?;
    datanode::logging::init(&config);
    let listeners = Listeners::bind(&config.bind, config.port).map_err(|e| e.to_string())?;
    let (pidfile, metrics_port) = (config.pidfile.clone(), config.metrics_port);
    let config = datanode::sentinel::config::Config::new(config).map_err(|e| e.to_string())?;
    let now = start_time();
    let mut sentinel =
        Sentinel::new(config, Arc::new(RealDisk), net::random_seed(), now).map_err(|e| e.to_string())?;
    sentinel.metrics = board(metrics_port)?;
    if !pidfile.is_empty()
        && let Err(e) = std::fs::write(&pidfile, format!("{}\n", std::process::id()))
    {
        tracing::warn!("Failed to write PID file {pidfile}: {e}");
    }
    tracing::info!("Sentinel ID is {}", sentinel.id());
    let mut io = Io::default();
    io.now = now;
    let code = net::run(&mut sentinel, listeners, io).map_err(|e| format!("the event loop failed: {e}"));
    if !pidfile.is_empty() {
        // It may be gone already; nobody needs it any more.
        let _ = std::fs::remove_file(&pidfile);
    }
    code
}
