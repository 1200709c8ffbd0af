//! What the client says of itself and of commands, from the table that the server dispatches by.

use crate::command::{Spec, arguments, table};

/// `--help`
pub const USAGE: &str = "Usage: redis-cli [OPTIONS] [cmd [arg [arg ...]]]

Where to
  -h <host>, -p <port>     server (127.0.0.1, 6379)
  -s <path>                Unix socket instead
  -u <uri>                 redis://user:password@host:port/db
  -a, --pass <password>    password; better in the environment variable REDISCLI_AUTH
  --user <name>            user of that password
  --askpass                ask for the password
  --no-auth-warning        do not warn of a password on the command line
  -n <db>                  database
  -2, -3                   protocol version
  -c                       follow the redirections of a cluster

What and how often
  -r <n>, -i <seconds>     send the command n times (-1: without end), with a pause
  -x                       the last argument is standard input
  -X <tag>                 the argument <tag> is standard input
  --quoted-input           arguments are quoted strings
  --eval <file>            run a script: --eval file key1 key2 , arg1 arg2
  -e                       exit code 1 where the reply is an error

How replies are printed
  --raw, --no-raw          as they are, or for people (default on a terminal)
  --csv, --json, --quoted-json
  -d, -D <delimiter>       within and between raw replies (\\n)
  --show-pushes <yes|no>   push messages too

Tasks of their own
  --stat                   a row of figures each second (-i)
  --latency, --latency-history, --intrinsic-latency <seconds>
  --scan                   all keys (--pattern, --quoted-pattern)
  --bigkeys, --memkeys, --memkeys-samples <n>, --hotkeys
  --pipe                   commands as the protocol has them from standard input (--pipe-timeout)
  --rdb <file>, --functions-rdb <file>
  --replica                print what a replica is sent

  --help, --version

With no command it is interactive: type `help` there.
";

const INTERACTIVE: &str = "Type: \"help @<group>\" to get a list of commands in <group>
      \"help <command>\" for help on <command>
      \"help <tab>\" to get a list of possible help topics
      \"quit\" to exit

To set preferences:
      \":set hints\" enable online hints
      \":set nohints\" disable online hints
Set your preferences in ~/.redisclirc
";

/// Every command and subcommand; a subcommand as `CONTAINER SUB`.
pub fn commands() -> impl Iterator<Item = (String, &'static Spec)> {
    table::all().flat_map(|spec| {
        let inner = spec.subcommands.iter().map(named);
        std::iter::once(named(spec)).chain(inner)
    })
}

fn named(spec: &'static Spec) -> (String, &'static Spec) {
    (spec.name.replace('|', " ").to_uppercase(), spec)
}

/// The groups, as `help @group` takes them.
pub fn groups() -> Vec<&'static str> {
    let mut names: Vec<&str> = table::all().map(|spec| spec.group.name()).collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// Answers `help`, `help command`, `help @group`.
pub fn answer(words: &[String]) -> String {
    let topic = words.join(" ").to_uppercase();
    if topic.is_empty() {
        return format!("redis-cli {}\n{INTERACTIVE}", super::VERSION);
    }
    let wanted = |(name, spec): &(String, &'static Spec)| match topic.strip_prefix('@') {
        Some(group) => spec.group.name().eq_ignore_ascii_case(group),
        None => *name == topic || name.split(' ').next() == Some(&topic),
    };
    commands().filter(wanted).map(|(name, spec)| entry(&name, spec, topic.starts_with('@'))).collect()
}

fn entry(name: &str, spec: &Spec, short: bool) -> String {
    let form = arguments::form(&arguments::of(spec.name));
    let mut text = format!("\n  {name} {form}\n  summary: {}\n  since: {}\n", spec.summary, spec.since);
    if !short {
        text.push_str(&format!("  group: {}\n", spec.group.name()));
    }
    text
}

/// What may follow the words typed so far, as a hint: the arguments that are not there yet.
pub fn hint(line: &str) -> Option<String> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let (name, typed) = two(&words).or_else(|| one(&words))?;
    let given = words.len() - typed;
    // A word that is being typed is still open.
    if given > 0 && !line.ends_with(' ') {
        return None;
    }
    let all = arguments::of(name);
    let mut rest: Vec<String> =
        all.iter().map(|argument| arguments::form(std::slice::from_ref(argument))).collect();
    rest.drain(..given.min(rest.len()));
    let rest = rest.join(" ");
    (!rest.is_empty()).then(|| if line.ends_with(' ') { rest } else { format!(" {rest}") })
}

fn one(words: &[&str]) -> Option<(&'static str, usize)> {
    let spec = table::named(&words.first()?.to_ascii_lowercase())?;
    Some((spec.name, 1))
}

fn two(words: &[&str]) -> Option<(&'static str, usize)> {
    let container = table::named(&words.first()?.to_ascii_lowercase())?;
    let spec = table::subcommand(container, words.get(1)?.as_bytes())?;
    Some((spec.name, 2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hints_show_what_is_missing() {
        assert_eq!(hint("get").as_deref(), Some(" key"));
        assert_eq!(hint("GETRANGE k ").as_deref(), Some("start end"));
        assert_eq!(hint("getrange k").as_deref(), None);
        assert_eq!(hint("config get ").as_deref(), Some("parameter [parameter ...]"));
        assert_eq!(hint("get k "), None);
        assert_eq!(hint("nonsense "), None);
        assert_eq!(hint(""), None);
    }

    #[test]
    fn help_knows_every_command() {
        assert!(answer(&[]).contains("help @<group>"));
        let get = answer(&["get".into()]);
        assert!(get.contains("\n  GET key\n") && get.contains("group: string") && !get.contains("GETRANGE"));
        assert!(answer(&["config".into()]).contains("CONFIG REWRITE"));
        for group in groups() {
            assert!(!answer(&[format!("@{group}")]).is_empty(), "{group}");
        }
        assert_eq!(answer(&["nonsense".into()]), "");
    }
}
