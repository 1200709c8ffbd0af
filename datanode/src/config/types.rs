//! The types of configuration values that are more than a number, a switch or a text.

/// A value with a fixed set of names; several names may mean the same.
pub trait Choice: Copy + PartialEq + 'static {
    /// All names with their meaning, in the order in which Redis lists them.
    const ALL: &'static [(&'static str, Self)];
}

/// The name by which a choice is shown.
pub fn choice_name<C: Choice>(choice: C) -> &'static str {
    C::ALL.iter().find(|(_, c)| *c == choice).map_or("unknown", |(name, _)| name)
}

macro_rules! choice {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $text:literal $(| $synonym:literal)*),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $name { $($(#[$vdoc])* $variant),* }
        impl Choice for $name {
            const ALL: &'static [(&'static str, Self)] =
                &[$(($text, $name::$variant), $(($synonym, $name::$variant),)*)*];
        }
        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(choice_name(*self))
            }
        }
    };
}

choice! {
    /// When the append-only file is made durable.
    Fsync {
        /// Once a second.
        Everysec = "everysec",
        /// Before each reply.
        Always = "always",
        /// Whenever the operating system likes.
        No = "no",
    }
}

choice! {
    /// What is removed when `maxmemory` is reached.
    EvictionPolicy {
        /// Least recently used among keys with an expiry.
        VolatileLru = "volatile-lru",
        /// Least frequently used among keys with an expiry.
        VolatileLfu = "volatile-lfu",
        /// Any key with an expiry.
        VolatileRandom = "volatile-random",
        /// The key that expires soonest.
        VolatileTtl = "volatile-ttl",
        /// Least recently used of all keys.
        AllkeysLru = "allkeys-lru",
        /// Least frequently used of all keys.
        AllkeysLfu = "allkeys-lfu",
        /// Any key.
        AllkeysRandom = "allkeys-random",
        /// None: writes are refused.
        Noeviction = "noeviction",
    }
}

choice! {
    /// Least severe message that is logged.
    LogLevel {
        /// Everything.
        Debug = "debug",
        /// Much.
        Verbose = "verbose",
        /// What an operator wants to know.
        Notice = "notice",
        /// Only what calls for action.
        Warning = "warning",
    }
}

choice! {
    /// Form of log lines.
    LogFormat {
        /// Redis' own lines.
        Text = "text",
        /// One JSON object a line.
        Json = "json",
    }
}

choice! {
    /// How a replica takes a full synchronization.
    DisklessLoad {
        /// Through a file.
        Disabled = "disabled",
        /// From the socket where there is nothing to lose.
        OnEmptyDb = "on-empty-db",
        /// From the socket, keeping the old data beside it.
        Swapdb = "swapdb",
    }
}

choice! {
    /// Who may use a guarded command or directive.
    Guard {
        /// Nobody.
        No = "no",
        /// Everybody.
        Yes = "yes",
        /// Connections from the same machine.
        Local = "local",
    }
}

choice! {
    /// How deep DUMP payloads are checked on RESTORE.
    SanitizePayload {
        /// Not at all.
        No = "no",
        /// Always.
        Yes = "yes",
        /// When they come from clients, not from a master.
        Clients = "clients",
    }
}

choice! {
    /// Which channels a new ACL user may use.
    PubsubDefault {
        /// All.
        Allchannels = "allchannels",
        /// None.
        Resetchannels = "resetchannels",
    }
}

choice! {
    /// What cluster clients are told as a node's address.
    EndpointType {
        /// The IP address.
        Ip = "ip",
        /// The announced hostname.
        Hostname = "hostname",
        /// Nothing: they use the one they connected to.
        UnknownEndpoint = "unknown-endpoint",
    }
}

choice! {
    /// Adjustment of the kernel's out-of-memory score.
    OomScoreAdj {
        /// Left alone.
        No = "no",
        /// Relative to the value at start.
        Relative = "yes" | "relative",
        /// Absolute values.
        Absolute = "absolute",
    }
}

choice! {
    /// What happens when a replicated command fails.
    PropagationError {
        /// Nothing.
        Ignore = "ignore",
        /// The process ends.
        Panic = "panic",
        /// The process ends if it is a replica.
        PanicOnReplicas = "panic-on-replicas",
    }
}

choice! {
    /// Who supervises the process.
    Supervised {
        /// Upstart.
        Upstart = "upstart",
        /// Systemd.
        Systemd = "systemd",
        /// Whichever is found.
        Auto = "auto",
        /// Nobody.
        No = "no",
    }
}

choice! {
    /// Whether TLS clients must show a certificate.
    TlsAuthClients {
        /// No.
        No = "no",
        /// Yes.
        Yes = "yes",
        /// It is checked where there is one.
        Optional = "optional",
    }
}

choice! {
    /// Syslog facility.
    SyslogFacility {
        /// `LOG_USER`.
        User = "user",
        /// `LOG_LOCAL0`.
        Local0 = "local0",
        /// `LOG_LOCAL1`.
        Local1 = "local1",
        /// `LOG_LOCAL2`.
        Local2 = "local2",
        /// `LOG_LOCAL3`.
        Local3 = "local3",
        /// `LOG_LOCAL4`.
        Local4 = "local4",
        /// `LOG_LOCAL5`.
        Local5 = "local5",
        /// `LOG_LOCAL6`.
        Local6 = "local6",
        /// `LOG_LOCAL7`.
        Local7 = "local7",
    }
}

/// Save a snapshot once `changes` keys have changed and `seconds` have passed since the last one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SavePoint {
    /// Seconds since the last snapshot, at least 1.
    pub seconds: u64,
    /// Changes since the last snapshot.
    pub changes: u64,
}

/// How a shutdown by signal goes; all false is the default way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ShutdownFlags {
    /// Save even where no save points are configured.
    pub save: bool,
    /// Do not save.
    pub nosave: bool,
    /// Do not wait for replicas.
    pub now: bool,
    /// End even if saving fails.
    pub force: bool,
}

/// Bound on unsent replies of one class of clients; 0 is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutputLimit {
    /// Bytes at which the client is closed at once.
    pub hard: u64,
    /// Bytes at which it is closed once it stays there for `soft_seconds`.
    pub soft: u64,
    /// Seconds above `soft`.
    pub soft_seconds: u64,
}

/// Index of ordinary clients in `client_output_buffer_limit`.
pub const CLASS_NORMAL: usize = 0;
/// Index of replicas in `client_output_buffer_limit`.
pub const CLASS_REPLICA: usize = 1;
/// Index of subscribers in `client_output_buffer_limit`.
pub const CLASS_PUBSUB: usize = 2;

/// The bound on all clients' memory together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientMemory {
    /// Bytes; 0 is none.
    Bytes(u64),
    /// Per cent of `maxmemory`.
    Percent(u8),
}

/// Classes of keyspace events, as bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct KeyspaceEvents(pub u32);

/// Events by their letter, in the order in which they are shown.
const EVENT_LETTERS: &[u8] = b"g$lshzxetdnKEm";
/// Letters that `A` stands for: the first ten.
const EVENTS_ALL: u32 = (1 << 10) - 1;

impl KeyspaceEvents {
    /// Whether events of this letter are published.
    pub fn has(self, letter: u8) -> bool {
        EVENT_LETTERS.iter().position(|&l| l == letter).is_some_and(|bit| self.0 & (1 << bit) != 0)
    }

    /// Reads letters, `A` included; `None` on an unknown one.
    pub fn parse(letters: &str) -> Option<KeyspaceEvents> {
        letters
            .bytes()
            .try_fold(0, |bits, letter| match letter {
                b'A' => Some(bits | EVENTS_ALL),
                _ => EVENT_LETTERS.iter().position(|&l| l == letter).map(|bit| bits | 1 << bit),
            })
            .map(KeyspaceEvents)
    }
}

impl std::fmt::Display for KeyspaceEvents {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let all = self.0 & EVENTS_ALL == EVENTS_ALL;
        if all {
            f.write_str("A")?;
        }
        for (bit, &letter) in EVENT_LETTERS.iter().enumerate() {
            // Redis does not show `n` beside `A`.
            let covered = all && (EVENTS_ALL & (1 << bit) != 0 || letter == b'n');
            if self.0 & (1 << bit) != 0 && !covered {
                write!(f, "{}", char::from(letter))?;
            }
        }
        Ok(())
    }
}

impl EvictionPolicy {
    /// Whether it goes by frequency of use.
    pub fn is_lfu(self) -> bool {
        matches!(self, EvictionPolicy::AllkeysLfu | EvictionPolicy::VolatileLfu)
    }

    /// Whether it goes by the use of keys, how often or how long ago.
    pub fn is_by_use(self) -> bool {
        self.is_lfu() || matches!(self, EvictionPolicy::AllkeysLru | EvictionPolicy::VolatileLru)
    }
}
