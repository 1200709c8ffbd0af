//! What one seed makes: the deployment, its weather, and the kinds of faults that hit it.

use datanode::config::types::Fsync;
use datanode::rng::Rng;
use datanode::sim::Weather;

use crate::story::{Aim, Deed};

/// Most members that a shard ever has.
pub const MOST_MEMBERS: usize = 5;
/// Most sentinels that there ever are.
const MOST_SENTINELS: usize = 5;

/// The deployment of a run.
#[derive(Debug, Clone)]
pub struct Scenario {
    /// Members of the shard at first: 1, 2 or 4 replicas and the master.
    pub members: usize,
    /// Machines for members: more than there are at first where a user changes their number.
    pub places: usize,
    /// 0, 3 or 5, at first.
    pub sentinels: usize,
    /// Machines for sentinels.
    pub seats: usize,
    /// `writeAckReplicas`.
    pub acks: usize,
    /// `appendfsync`; none: only RDB files, and these rarely.
    pub fsync: Option<Fsync>,
    /// `writeAckFsync`.
    pub disks: bool,
    /// Clients that write, and the pause between two writes of each, milliseconds.
    pub writers: usize,
    /// See `writers`.
    pub pause_ms: u64,
    /// How much faster or slower a machine's clock may run, parts per million.
    pub drift_ppm: u64,
    /// The network until the faults end.
    pub weather: Weather,
    /// How long a background job takes at most, microseconds.
    pub job_us: u64,
    /// Faults.
    pub steps: usize,
}

impl Scenario {
    /// The scenario of a seed.
    pub fn of(rng: &mut Rng) -> Scenario {
        let members = [2, 3, 3, 3, 5][rng.below(5) as usize];
        let sentinels = [0, 3, 3, 5][rng.below(4) as usize];
        let most = (members - 1).min(2) as u64;
        let acks = match rng.below(6) {
            0 => 0,
            n => (1 + (n / 5)).min(most) as usize,
        };
        let fsync = match rng.below(5) {
            0 | 1 => Some(Fsync::Always),
            2 | 3 => Some(Fsync::Everysec),
            _ => None,
        };
        // Drawn aside: all else of a seed's run is as it would be without.
        let mut aside = rng.clone();
        let disks = aside.below(3) == 0 && acks > 0 && fsync.is_some();
        let places = if aside.below(3) == 0 { MOST_MEMBERS } else { members };
        let seats = if aside.below(3) == 0 && sentinels > 0 { MOST_SENTINELS } else { sentinels };
        let slow = [2_000, 10_000, 60_000][rng.below(3) as usize];
        Scenario {
            members,
            places,
            sentinels,
            seats,
            acks,
            fsync,
            disks,
            writers: 1 + rng.below(2) as usize,
            pause_ms: 10 + rng.below(20),
            drift_ppm: [0, 1_000, 40_000][rng.below(3) as usize],
            weather: Weather { delay_us: (200, slow), loss: rng.below(3) * 3 },
            // Clients wait for disks only where these are faster than they are patient.
            job_us: [1_000, 50_000, if disks { 50_000 } else { 1_500_000 }][rng.below(3) as usize],
            steps: 6 + rng.below(10) as usize,
        }
    }

    /// Nobody loses what it has acknowledged when the power fails.
    pub fn synced(&self) -> bool {
        self.disks || self.fsync == Some(Fsync::Always)
    }
}

/// What can go wrong, or is asked for, in one step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// A member's process is killed; it comes back after so many milliseconds.
    KillMember(usize, u64),
    /// The machine of a member loses power at its n-th change of a file from now on.
    CrashMember(usize, u64, u64),
    /// A member's process is killed and its volume emptied.
    WipeMember(usize, u64),
    /// A sentinel's process is killed.
    KillSentinel(usize, u64),
    /// The machine of a sentinel loses power at its n-th change of a file from now on.
    CrashSentinel(usize, u64, u64),
    /// The same, and its volume emptied.
    WipeSentinel(usize, u64),
    /// An operator is killed.
    KillOperator(usize, u64),
    /// All members are killed at once.
    KillAll(u64),
    /// A process stands still.
    Stop(usize, u64),
    /// The network between two machines is cut.
    Cut(usize, usize),
    /// Nothing of what one machine sends reaches the other.
    CutWay(usize, usize),
    /// A machine is cut off from all others.
    Isolate(usize),
    /// The machines are parted in two, by this mask.
    Part(u64),
    /// The network resets a machine's connections and refuses new ones.
    Refuse(usize),
    /// The network is well again.
    Mend,
    /// A member's disk is full, for so many milliseconds.
    FillDisk(usize, u64),
    /// A member's disk fails, for so many milliseconds.
    BreakDisk(usize, u64),
    /// SIGTERM for a member, as in a roll; it comes back.
    Terminate(usize, u64),
    /// A person asks a sentinel for a planned move.
    Switchover(usize),
    /// Snapshots are asked for.
    Snapshot(usize),
    /// The log is to be rewritten.
    Rewrite(usize),
    /// The API server is not there, or shows old versions.
    ApiServer(bool, bool),
    /// Something happens to whoever is master by then.
    Master(Deed),
    /// Something happens when a message is sent.
    Aim(Aim),
    /// A sentinel sees none of the members but the one that was master before.
    SeeOnlyOldMaster(usize),
    /// A member's process is killed and finds the volume of another deployment.
    ForeignVolume(usize),
    /// It gets its own back.
    OwnVolume(usize),
    /// A user changes `writeAckReplicas`.
    WriteAcks(u32),
    /// A user changes `replicas`, so that there are so many members.
    Members(usize),
    /// A user changes `sentinels`.
    Sentinels(usize),
}

impl Step {
    /// The machine of a member or sentinel that something happens to.
    pub fn machine(&self) -> Option<usize> {
        match *self {
            Step::KillMember(i, _)
            | Step::CrashMember(i, _, _)
            | Step::WipeMember(i, _)
            | Step::Isolate(i)
            | Step::Refuse(i)
            | Step::FillDisk(i, _)
            | Step::BreakDisk(i, _)
            | Step::Terminate(i, _)
            | Step::Snapshot(i)
            | Step::Rewrite(i)
            | Step::ForeignVolume(i) => Some(i),
            _ => None,
        }
    }

    /// The next step; machines are numbered: members, sentinels, operators, clients.
    pub fn next(rng: &mut Rng, s: &Scenario, machines: usize) -> Step {
        let member = rng.below(s.places as u64) as usize;
        let sentinel = rng.below(s.seats.max(1) as u64) as usize;
        let any = rng.below(machines as u64) as usize;
        let other = (any + 1 + rng.below(machines as u64 - 1) as usize) % machines;
        let away = 50 + rng.below(3000);
        let soon = rng.below(12);
        match rng.below(40) {
            0..=2 => Step::KillMember(member, away),
            3 | 4 => Step::CrashMember(member, soon, away),
            5 => Step::WipeMember(member, away),
            6 => Step::KillSentinel(sentinel, away),
            7 => Step::CrashSentinel(sentinel, soon, away),
            8 => Step::WipeSentinel(sentinel, away),
            9 => Step::KillOperator(rng.below(2) as usize, away),
            10 => Step::KillAll(away),
            11..=13 => Step::Stop(member, 100 + rng.below(4000)),
            14 => Step::Stop(any, 100 + rng.below(4000)),
            15 | 16 => Step::Cut(any, other),
            17 => Step::CutWay(any, other),
            18 | 19 => Step::Isolate(member),
            20 | 21 => Step::Part(rng.next_u64()),
            22 => Step::Refuse(member),
            23 | 24 => Step::Mend,
            25 => Step::FillDisk(member, away),
            26 => Step::BreakDisk(member, away),
            27 => Step::Terminate(member, away),
            28 => Step::Switchover(sentinel),
            29 => Step::Snapshot(member),
            30 => Step::Rewrite(member),
            31 | 32 => Step::WriteAcks(1 + rng.below(2) as u32),
            33..=35 => Step::Aim(Aim::any(rng)),
            36 | 37 => Step::Members(2 + rng.below(MOST_MEMBERS as u64 - 1) as usize),
            38 => Step::Sentinels([3, 5][rng.below(2) as usize]),
            _ => Step::ApiServer(rng.below(2) == 0, rng.below(2) == 0),
        }
    }
}
