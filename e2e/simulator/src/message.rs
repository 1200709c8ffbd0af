//! What sentinels say to members and to each other, as far as faults aim at it and claims speak of it.

/// What a message is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A sentinel asks another one for its vote.
    VoteAsked,
    /// A sentinel votes.
    Voted,
    /// A leader asks a member to promise.
    PromiseAsked,
    /// A leader asks the master to hand over.
    HandoverAsked,
    /// A leader asks another sentinel to accept what it has decided.
    AcceptAsked,
    /// A map is offered.
    Offered,
}

impl Kind {
    /// All of them.
    pub const ALL: [Kind; 6] = [
        Kind::VoteAsked,
        Kind::Voted,
        Kind::PromiseAsked,
        Kind::HandoverAsked,
        Kind::AcceptAsked,
        Kind::Offered,
    ];

    /// Whether it is among what a sentinel sends in one go.
    pub fn is_in(self, bytes: &[u8]) -> bool {
        match self {
            Kind::VoteAsked => {
                commands(bytes, "VOTE").any(|words| words.get(2).is_some_and(|id| *id != b"*"))
            }
            Kind::Voted => votes(bytes),
            Kind::PromiseAsked => commands(bytes, "PROMISE").next().is_some(),
            Kind::HandoverAsked => commands(bytes, "HANDOVER").next().is_some(),
            Kind::AcceptAsked => commands(bytes, "ACCEPT").next().is_some(),
            Kind::Offered => commands(bytes, "OFFER").next().is_some(),
        }
    }
}

/// The epochs for which promises are asked for.
pub fn epochs_led(bytes: &[u8]) -> impl Iterator<Item = u64> + '_ {
    commands(bytes, "PROMISE").filter_map(|words| std::str::from_utf8(words.get(1)?).ok()?.parse().ok())
}

/// The arguments of each `REPLICASET` command of this name.
fn commands<'a>(bytes: &'a [u8], name: &'static str) -> impl Iterator<Item = Vec<&'a [u8]>> {
    const START: &[u8] = b"\r\nREPLICASET\r\n";
    let starts = places(bytes, START);
    starts.filter_map(move |at| {
        // Lengths and words in turn, up to the next command.
        let mut lines =
            bytes[at + START.len()..].split(|b| *b == b'\n').map(|l| l.strip_suffix(b"\r").unwrap_or(l));
        let mut word = || lines.next().filter(|l| l.starts_with(b"$")).and_then(|_| lines.next());
        (word()? == name.as_bytes()).then(|| std::iter::from_fn(word).collect())
    })
}

fn places<'a>(bytes: &'a [u8], what: &'static [u8]) -> impl Iterator<Item = usize> + 'a {
    let first = bytes.iter().enumerate().filter(move |(_, b)| **b == what[0]).map(|(at, _)| at);
    first.filter(move |at| bytes[*at..].starts_with(what))
}

/// The answer to a question for a vote: four things, the second of them a run id.
fn votes(bytes: &[u8]) -> bool {
    places(bytes, b"*4\r\n:").any(|at| {
        let mut lines = bytes[at..].split(|b| *b == b'\n').skip(2);
        lines.next() == Some(b"$40\r") && lines.next().is_some_and(|id| id.len() == 41)
    })
}

#[cfg(test)]
mod tests {
    use datanode::resp::encode_command;

    use super::*;

    fn sent(commands: &[&[&str]]) -> Vec<u8> {
        let mut bytes = Vec::new();
        commands.iter().for_each(|words| encode_command(&mut bytes, words));
        bytes
    }

    #[test]
    fn they_are_recognised_among_others() {
        let bytes = sent(&[&["PING"], &["REPLICASET", "PROMISE", "0", "12"], &["REPLICASET", "OFFER", "{}"]]);
        let seen: Vec<Kind> = Kind::ALL.into_iter().filter(|kind| kind.is_in(&bytes)).collect();
        assert_eq!(seen, [Kind::PromiseAsked, Kind::Offered]);
        assert_eq!(epochs_led(&bytes).collect::<Vec<_>>(), [12]);
    }

    #[test]
    fn a_question_whether_a_master_is_down_asks_for_no_vote() {
        let question = |id| sent(&[&["REPLICASET", "VOTE", "orders", "7", id, "1", "0"]]);
        assert!(Kind::VoteAsked.is_in(&question("abc")) && !Kind::VoteAsked.is_in(&question("*")));
        let id = "1".repeat(40);
        assert!(
            Kind::Voted.is_in(format!(":1\r\n*4\r\n:0\r\n$40\r\n{id}\r\n:7\r\n$2\r\n{{}}\r\n").as_bytes())
        );
        assert!(!Kind::Voted.is_in(b"*4\r\n:0\r\n$1\r\n*\r\n:0\r\n$2\r\n{}\r\n"));
    }
}
