//! Deliberate mistakes, switched on one at a time to show that the simulator would notice them. Without the feature
//! `simulation` there are none.

/// A rule that is broken on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mutation {
    /// A master takes writes whether or not its lease has run out.
    LeaseIgnored,
    /// A sentinel votes though a lease that it has fed still runs.
    LeaseNotAwaited,
    /// A sentinel votes for everybody who asks.
    VoteGivenTwice,
    /// A vote is answered before it is durable.
    VoteNotKept,
    /// Whoever has one vote leads.
    OneVoteEnough,
    /// One sentinel's echo is enough for a lease.
    OneEchoEnough,
    /// Members are compared by offset alone, without its epoch.
    OffsetWithoutEpoch,
    /// One member's promise is enough for an election.
    OnePromiseEnough,
    /// A replica that has promised a newer epoch goes on acknowledging.
    PromiseIgnored,
    /// A restarted master goes on at its old epoch.
    MasterGoesOn,
    /// A member copies whatever a master offers.
    ResyncUnguarded,
    /// An empty volume takes part in elections as if it held the dataset.
    EmptyVolumeElected,
    /// A reply leaves before replicas have acknowledged its write.
    ReplyBeforeAck,
    /// A reply leaves when replicas have its write in memory, though their disks are to be waited for.
    DisksNotAwaited,
    /// What the append-only file has only put off to write is acknowledged.
    UnwrittenAcknowledged,
    /// The append-only file is not synced under `always`.
    FsyncLeftOut,
    /// A demoted master keeps its clients and what it still owes them.
    ClientsKept,
    /// A member that was restarted counts as if it had lost nothing.
    RestartedCounts,
    /// An election asks members that may not have everything yet.
    JoiningAsked,
    /// An election asks no member that is to leave.
    LeavingNotAsked,
}

impl Mutation {
    /// All of them.
    pub const ALL: &[Mutation] = &[
        Mutation::LeaseIgnored,
        Mutation::LeaseNotAwaited,
        Mutation::VoteGivenTwice,
        Mutation::VoteNotKept,
        Mutation::OneVoteEnough,
        Mutation::OneEchoEnough,
        Mutation::OffsetWithoutEpoch,
        Mutation::OnePromiseEnough,
        Mutation::PromiseIgnored,
        Mutation::MasterGoesOn,
        Mutation::ResyncUnguarded,
        Mutation::EmptyVolumeElected,
        Mutation::ReplyBeforeAck,
        Mutation::DisksNotAwaited,
        Mutation::UnwrittenAcknowledged,
        Mutation::FsyncLeftOut,
        Mutation::ClientsKept,
        Mutation::RestartedCounts,
        Mutation::JoiningAsked,
        Mutation::LeavingNotAsked,
    ];
}

#[cfg(feature = "simulation")]
thread_local! {
    static ACTIVE: std::cell::Cell<Option<Mutation>> = const { std::cell::Cell::new(None) };
}

/// Breaks a rule in this thread from now on, or none.
#[cfg(feature = "simulation")]
pub fn activate(mutation: Option<Mutation>) {
    ACTIVE.set(mutation);
}

/// Whether this rule is broken.
#[cfg(feature = "simulation")]
pub fn active(mutation: Mutation) -> bool {
    ACTIVE.get() == Some(mutation)
}

/// Whether this rule is broken: never.
#[cfg(not(feature = "simulation"))]
#[inline]
pub const fn active(_: Mutation) -> bool {
    false
}
