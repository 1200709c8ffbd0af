//! `set-proc-title`: what `ps` shows in the place of the command line.
//!
//! The kernel shows the memory that the arguments were in at start. It is written through `/proc/self/mem`, and what it
//! holds room for is all that can be shown: environment variables behind it stay where they are.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::OnceLock;

use crate::config::Config;

/// The name by which the program was called; set where the process owns its title.
static PROGRAM: OnceLock<String> = OnceLock::new();

/// Lets [`set`] change the title from now on.
pub fn init(program: &str) {
    let _ = PROGRAM.set(program.to_owned());
}

/// Shows what `proc-title-template` makes of the configuration, where that is wanted.
pub fn set(config: &Config, sentinel: bool) {
    if let Some(program) = PROGRAM.get()
        && config.set_proc_title
        && let Err(e) = overwrite(&expand(config, program, sentinel))
    {
        tracing::debug!("the process title could not be set: {e}");
    }
}

/// The template with its variables filled in.
fn expand(config: &Config, program: &str, sentinel: bool) -> String {
    let (mut title, mut rest) = (String::new(), config.proc_title_template.as_str());
    while let Some((before, (name, after))) =
        rest.split_once('{').and_then(|(before, tail)| Some((before, tail.split_once('}')?)))
    {
        title.push_str(before);
        title.push_str(&variable(config, program, sentinel, name));
        rest = after;
    }
    title.push_str(rest);
    title.trim_matches(' ').into()
}

fn variable(config: &Config, program: &str, sentinel: bool, name: &str) -> String {
    match name {
        "title" => program.into(),
        "listen-addr" if config.port == 0 => format!("unixsocket:{}", config.unixsocket),
        "listen-addr" => {
            format!("{}:{}", config.bind.first().map_or("*", String::as_str), config.port)
        }
        "server-mode" if config.cluster_enabled => "[cluster]".into(),
        "server-mode" if sentinel => "[sentinel]".into(),
        "config-file" => {
            config.extra.config_file.as_ref().map_or("-".into(), |p| p.to_string_lossy().into_owned())
        }
        "port" => config.port.to_string(),
        "tls-port" => config.tls_port.to_string(),
        "unixsocket" => config.unixsocket.clone(),
        _ => String::new(),
    }
}

/// Fields 48 and 49 of `/proc/self/stat`, counted from behind the name: the bounds of the arguments.
fn arguments() -> Option<(u64, u64)> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(45);
    let mut next = || fields.next()?.parse::<u64>().ok();
    Some((next()?, next()?)).filter(|(start, end)| *start > 0 && end > start)
}

fn overwrite(title: &str) -> std::io::Result<()> {
    let (start, end) = arguments().ok_or_else(|| std::io::Error::other("the kernel does not say where"))?;
    let room = (end - start) as usize;
    let mut bytes = title.as_bytes().to_vec();
    // The last byte has to be a NUL, or the kernel takes the environment for a part of it.
    bytes.truncate(room - 1);
    bytes.resize(room, 0);
    File::options().write(true).open("/proc/self/mem")?.write_all_at(&bytes, start)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_are_filled_in() {
        let mut config = Config { port: 7, bind: vec!["::1".into()], ..Config::default() };
        assert_eq!(expand(&config, "redis-server", false), "redis-server ::1:7");
        assert_eq!(expand(&config, "redis-sentinel", true), "redis-sentinel ::1:7 [sentinel]");
        (config.cluster_enabled, config.port) = (true, 0);
        config.unixsocket = "/s".into();
        config.proc_title_template = "{listen-addr}{server-mode} x {config-file} ".into();
        assert_eq!(expand(&config, "", false), "unixsocket:/s[cluster] x -");
    }
}
