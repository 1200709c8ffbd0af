//! Faults that belong together: each story leads, step by step, to a situation for which there is a rule.

use datanode::rng::Rng;

use crate::message::Kind;
use crate::scenario::{Scenario, Step};

/// What happens to one machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deed {
    /// Its process is killed, and comes back after so many milliseconds.
    Kill(u64),
    /// It loses power.
    PowerOff(u64),
    /// Its process is killed and its volume emptied.
    Wipe(u64),
    /// It stands still, milliseconds.
    Stop(u64),
    /// It is cut off from all others.
    Isolate,
    /// It is cut off from the sentinels.
    PartFromSentinels,
    /// It is cut off from the members.
    PartFromMembers,
}

impl Deed {
    /// Any.
    pub fn any(rng: &mut Rng) -> Deed {
        let away = 20 + rng.below(1500);
        match rng.below(7) {
            0 => Deed::Kill(away),
            1 => Deed::PowerOff(away),
            2 => Deed::Stop(away),
            3 => Deed::Isolate,
            4 => Deed::PartFromSentinels,
            5 => Deed::Wipe(away),
            _ => Deed::PartFromMembers,
        }
    }
}

/// A fault that waits for a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Aim {
    /// Of which kind.
    pub kind: Kind,
    /// For the how manieth from now on, 0 for the next.
    pub after: u64,
    /// Whom it hits: who has sent the message, or who is to get it.
    pub sender: bool,
    /// What it is.
    pub deed: Deed,
}

impl Aim {
    /// Any.
    pub fn any(rng: &mut Rng) -> Aim {
        let kind = Kind::ALL[rng.below(Kind::ALL.len() as u64) as usize];
        Aim { kind, after: rng.below(4), sender: rng.below(3) > 0, deed: Deed::any(rng) }
    }
}

/// Steps, and how long each is left to itself, milliseconds.
pub type Plan = Vec<(Step, u64)>;

/// Any story that the deployment allows.
pub fn tell(rng: &mut Rng, s: &Scenario) -> Plan {
    match rng.below(8) {
        0 => succession(rng),
        1 => emptied(rng, s),
        2 | 3 if s.sentinels == 3 => forgotten_vote(rng, s),
        4 | 5 if s.sentinels == 3 => behind_the_times(rng, s),
        6 => foreign(rng, s),
        7 if s.members > 2 => shrinking(rng, s),
        _ => succession(rng),
    }
}

/// Three different numbers below `n`.
fn three(rng: &mut Rng, n: usize) -> [usize; 3] {
    let first = rng.below(n as u64) as usize;
    let turned = rng.below(2) as usize;
    let (a, b) = (1 + turned, 2 - turned);
    [first, (first + a) % n, (first + b) % n]
}

/// A master is cut off, with writes that nobody else gets; the next one is lost when the first one comes back.
fn succession(rng: &mut Rng) -> Plan {
    let loss = match rng.below(3) {
        0 => Deed::Kill(500 + rng.below(3000)),
        1 => Deed::Stop(2000 + rng.below(3000)),
        _ => Deed::Isolate,
    };
    vec![
        (Step::Master(Deed::Isolate), 1500 + rng.below(2000)),
        (Step::Mend, 0),
        (Step::Master(loss), 1500 + rng.below(2500)),
        (Step::Mend, rng.below(500)),
    ]
}

/// One member is behind, one is emptied, and the master is away.
fn emptied(rng: &mut Rng, s: &Scenario) -> Plan {
    let [_, behind, other] = three(rng, s.members.max(3));
    vec![
        (Step::Isolate(behind % s.members), 300 + rng.below(1200)),
        (Step::Mend, 0),
        (Step::Master(Deed::Isolate), 0),
        (Step::WipeMember(other % s.members, 50), 3000 + rng.below(3500)),
        (Step::Mend, 0),
    ]
}

/// Two sentinels that do not see each other want the vote of a third one, which is killed when it has given it. Who has got
/// it cannot use it at once.
fn forgotten_vote(rng: &mut Rng, s: &Scenario) -> Plan {
    let away = 10 + rng.below(150);
    let lost = if rng.below(2) == 0 { Deed::Kill(away) } else { Deed::PowerOff(away) };
    let voted = |sender, deed| (Step::Aim(Aim { kind: Kind::Voted, after: 0, sender, deed }), 0);
    vec![
        (Step::Cut(s.places, s.places + 1), 0),
        voted(true, lost),
        voted(false, Deed::PartFromMembers),
        (Step::Master(Deed::Kill(1500)), 1200 + rng.below(800)),
        (Step::Mend, 0),
    ]
}

/// A sentinel misses an election. Then it is one of two that are left, and of the members it sees the old master alone.
fn behind_the_times(rng: &mut Rng, s: &Scenario) -> Plan {
    let [late, other, _] = three(rng, s.sentinels).map(|i| s.places + i);
    let missed = 1200 + rng.below(900);
    vec![
        (Step::Isolate(late), 0),
        (Step::Master(Deed::Stop(missed + rng.below(1000))), missed),
        (Step::Mend, 0),
        (Step::SeeOnlyOldMaster(late), 0),
        (Step::Isolate(other), 0),
        (Step::Master(Deed::Kill(2500)), 1500 + rng.below(1500)),
        (Step::Mend, 0),
    ]
}

/// All but two are to leave, one of the two is behind, and the master's volume is lost.
fn shrinking(rng: &mut Rng, s: &Scenario) -> Plan {
    vec![
        (Step::Isolate(rng.below(2) as usize), 200 + rng.below(1000)),
        (Step::Members(2), 500 + rng.below(1500)),
        (Step::Master(Deed::Wipe(50)), 500 + rng.below(2500)),
        (Step::Mend, rng.below(1500)),
        (Step::Members(s.members), 0),
    ]
}

/// A member is given the volume of another deployment for a while.
fn foreign(rng: &mut Rng, s: &Scenario) -> Plan {
    let member = rng.below(s.members as u64) as usize;
    vec![(Step::ForeignVolume(member), 300 + rng.below(2500)), (Step::OwnVolume(member), 0)]
}
