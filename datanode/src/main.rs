//! The binary with many names: data server, sentinel, the client, and the tools that check files.

use std::cell::RefCell;
use std::io::{IsTerminal, Read};
use std::sync::{Arc, LazyLock};
use std::time::{SystemTime, UNIX_EPOCH};

use datanode::command::table;
use datanode::config::types::Supervised;
use datanode::config::{Config, Mode, REDIS_VERSION, Source};
use datanode::disk::RealDisk;
use datanode::io::{Io, Now};
use datanode::net::{self, Listeners, Threads};
use datanode::sentinel::{self, Sentinel};
use datanode::server::metrics::Board;
use datanode::server::{Origins, Server, alloc};
use datanode::system::pidfile::PidFile;
use datanode::system::supervisor::Supervisor;
use datanode::system::{COMMAND_LINE, background, crash, kernel, title};
use datanode::{check, cli, logging};

#[global_allocator]
static ALLOCATOR: alloc::Allocator = alloc::Allocator;

fn main() {
    LazyLock::force(&COMMAND_LINE);
    let mut args: Vec<String> = std::env::args().collect();
    let program = args.remove(0);
    let detached = args.first().is_some_and(|a| a == background::DETACHED);
    if detached {
        args.remove(0);
        background::leave_session();
    }
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
    crash::install();
    // In the image the first word says what to be; elsewhere the program's name does.
    let (mode, own) = match args.first().map(String::as_str) {
        Some("server") => (Mode::Server, &args[1..]),
        Some("sentinel") => (Mode::Sentinel, &args[1..]),
        _ => (Mode::of(&program, &args), &args[..]),
    };
    table::serve_as(mode);
    let code = load(mode, own).and_then(|(config, stdin)| {
        let background = config.daemonize && config.supervised == Supervised::No;
        if background && !detached {
            return background::start_detached(&program, &args, stdin.as_deref()).map(|()| 0);
        }
        // What is wrong with the configuration is said before there is a log.
        let sentinel = (mode == Mode::Sentinel).then(|| sentinel::config::Config::new(config.clone()));
        let sentinel = sentinel.transpose().map_err(|e| e.to_string())?;
        logging::init(&config);
        title::init(&program);
        announce(mode, &config);
        match sentinel {
            None => serve(&program, config),
            Some(sentinel) => watch(&program, config, sentinel),
        }
    });
    match code {
        Ok(code) => std::process::exit(code),
        Err(text) => {
            logging::fatal(&text);
            std::process::exit(1);
        }
    }
}

/// The first lines of the log, which tools read the process id and the port from.
fn announce(mode: Mode, config: &Config) {
    let pid = std::process::id();
    let (role, name) = match mode {
        Mode::Sentinel => (logging::Role::Sentinel, "sentinel"),
        Mode::Server if config.cluster_enabled => (logging::Role::Child, "cluster"),
        Mode::Server => (logging::Role::Child, "standalone"),
    };
    logging::set_role(role);
    tracing::warn!("oO0OoO0OoO0Oo Redis is starting oO0OoO0OoO0Oo");
    tracing::warn!(
        "Redis version={REDIS_VERSION}, bits=64, commit=00000000, modified=0, pid={pid}, just started"
    );
    if config.extra.config_file.is_some() {
        tracing::warn!("Configuration loaded");
    } else {
        tracing::warn!(
            "Warning: no config file specified, using the default config. In order to specify a config file use \
             redis-server /path/to/redis.conf"
        );
    }
    if mode == Mode::Server {
        logging::set_role(logging::Role::Master);
    }
    if config.always_show_logo || std::io::stdout().is_terminal() && config.logfile.is_empty() {
        let rule = "-".repeat(48);
        logging::plain(
            config,
            &format!(
                "{rule}\n  Redis {REDIS_VERSION} (datanode {}) 64 bit\n  Running in {name} mode\n  Port: {}\n  PID: {pid}\n{rule}\n",
                env!("CARGO_PKG_VERSION"),
                config.port
            ),
        );
    } else {
        tracing::info!("Running mode={name}, port={}.", config.port);
    }
}

/// Reads the configuration that the arguments name; and what came from standard input, if they name that.
fn load(mode: Mode, args: &[String]) -> Result<(Config, Option<Vec<u8>>), String> {
    let cwd = std::env::current_dir().map_err(|e| format!("no current directory: {e}"))?;
    let input = RefCell::new(None);
    let stdin = || {
        let mut text = Vec::new();
        std::io::stdin().read_to_end(&mut text)?;
        input.replace(Some(text.clone()));
        Ok(text)
    };
    let is_command = |name: &str| table::named(name).is_some();
    let source = Source { mode, args, disk: &RealDisk, cwd: &cwd, stdin: &stdin, is_command: &is_command };
    let config = Config::load(&source).map_err(|e| e.to_string())?;
    Ok((config, input.take()))
}

/// The time before the event loop has one.
fn start_time() -> Now {
    let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Now { mono_us: 1_000_000, unix_ms: unix.as_millis() as i64 }
}

/// What the machine is told about the process before it does anything. The file of the process id goes with the value.
fn settle(config: &Config, sentinel: bool) -> Result<(Supervisor, Option<PidFile>), String> {
    crash::enable(config.crash_log_enabled);
    title::set(config, sentinel);
    if config.disable_thp {
        kernel::disable_huge_pages();
    }
    kernel::run_on(&config.server_cpulist).map_err(|e| format!("server_cpulist: {e}"))?;
    Ok((Supervisor::find(config.supervised), PidFile::write(config)))
}

/// What this process is, and what it runs on.
fn origins(program: &str) -> Origins {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    Origins { executable: program.to_owned(), pid: std::process::id(), boot: boot.trim().to_owned() }
}

fn serve(program: &str, config: Config) -> Result<i32, String> {
    // This thread will own the data.
    alloc::adopt();
    alloc::keep_buffers();
    table::rename(&config.extra.rename_commands);
    let listeners = Listeners::bind(&config).map_err(|e| e.to_string())?;
    let (supervisor, _pidfile) = settle(&config, false)?;
    let now = start_time();
    let seed = net::random_seed();
    let mut server = Server::new(config, Arc::new(RealDisk), seed, now, origins(program))?;
    tracing::warn!("Server initialized");
    let mut io = Io::default();
    io.now = now;
    server.metrics = board(server.config.metrics_port)?;
    let threads =
        Threads { count: server.config.io_threads as usize, reads: server.config.io_threads_do_reads };
    let code = net::run(&mut server, listeners, io, threads, |server, io| {
        server.start(io)?;
        tracing::info!("Ready to accept connections");
        supervisor.ready(!server.is_master());
        Ok(())
    });
    supervisor.stopping();
    code
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

fn watch(program: &str, config: Config, parsed: sentinel::config::Config) -> Result<i32, String> {
    let mut renames = config.extra.rename_commands.clone();
    if !parsed.managed {
        // It follows no shard map, and is what Redis' is.
        renames.push(("replicaset".into(), String::new()));
    }
    table::rename(&renames);
    let listeners = Listeners::bind(&config).map_err(|e| e.to_string())?;
    let outgoing = datanode::server::start::outgoing(&config);
    let (supervisor, _pidfile) = settle(&config, true)?;
    let metrics_port = config.metrics_port;
    let now = start_time();
    let mut sentinel = Sentinel::new(parsed, Arc::new(RealDisk), net::random_seed(), now, origins(program))
        .map_err(|e| e.to_string())?;
    sentinel.metrics = board(metrics_port)?;
    tracing::warn!("Sentinel ID is {}", sentinel.id());
    let mut io = Io::default();
    io.now = now;
    io.outgoing = outgoing;
    supervisor.ready(false);
    let code = net::run(&mut sentinel, listeners, io, Threads::default(), |_, _| Ok(()));
    supervisor.stopping();
    code
}
