//! The binary with many names: data server, sentinel, and the tools that check files.

use std::io::Read;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use datanode::config::{Config, Mode, Source};
use datanode::disk::RealDisk;
use datanode::io::{Io, Now};
use datanode::net::{self, Listeners};
use datanode::server::metrics::Board;
use datanode::server::{Origins, Server, alloc};

#[global_allocator]
static ALLOCATOR: alloc::Counting = alloc::Counting;

fn main() {
    let mut args: Vec<String> = std::env::args().collect();
    let program = args.remove(0);
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
        Mode::Sentinel => Err("sentinel mode is not wired yet".into()),
    };
    match code {
        Ok(code) => std::process::exit(code),
        Err(text) => {
            eprintln!("{text}");
            std::process::exit(1);
        }
    }
}

fn serve(program: &str, args: &[String]) -> Result<i32, String> {
    let cwd = std::env::current_dir().map_err(|e| format!("no current directory: {e}"))?;
    let stdin = || {
        let mut text = Vec::new();
        std::io::stdin().read_to_end(&mut text)?;
        Ok(text)
    };
    let is_command = |name: &str| datanode::command::table::named(name).is_some();
    let source = Source {
        mode: Mode::Server,
        args,
        disk: &RealDisk,
        cwd: &cwd,
        stdin: &stdin,
        is_command: &is_command,
    };
    let config = Config::load(&source).map_err(|e| e.to_string())?;
    datanode::logging::init(&config);
    let listeners = Listeners::bind(&config.bind, config.port).map_err(|e| e.to_string())?;
    let origins = Origins { executable: program.to_owned(), pid: std::process::id() };
    let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let now = Now { mono_us: 1_000_000, unix_ms: unix.as_millis() as i64 };
    let seed = net::random_seed();
    let mut server = Server::new(config, Arc::new(RealDisk), seed, now, origins)?;
    tracing::info!("Server initialized");
    let mut io = Io::default();
    io.now = now;
    if server.config.metrics_port != 0 {
        let board = Arc::new(Board::default());
        net::http::serve(server.config.metrics_port, board.clone())
            .map_err(|e| format!("cannot serve metrics on port {}: {e}", server.config.metrics_port))?;
        server.metrics = Some(board);
    }
    server.start(&mut io)?;
    tracing::info!("Ready to accept connections");
    net::run(&mut server, listeners, io).map_err(|e| format!("the event loop failed: {e}"))
}
