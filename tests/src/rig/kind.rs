//! What may happen to nodes, clients and what is between them.

/// How many of the masters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Many {
    /// Any node.
    One,
    /// As few as make a majority.
    Majority,
    /// All nodes.
    All,
}

/// The shape of a cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// The nodes fall into two groups that do not hear each other.
    Split,
    /// One node hears nobody, clients included now and then, and nobody hears it.
    Isolate,
    /// Some nodes are not heard by some others, whom they hear.
    OneWay,
    /// Two groups do not hear each other, but one node hears and is heard by all.
    Bridge,
}

/// What an operator does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// A master loses its node file and is replaced.
    Replace,
    /// A master becomes a replica, and a master again.
    Demote,
    /// A master is removed, and taken in again.
    Leave,
    /// All nodes are restarted in turn, as an upgrade would.
    Rolling,
}

/// What may happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Nodes are killed, and started again.
    Kill(Many),
    /// Nodes stand still.
    Stop(Many),
    /// A client process stands still.
    StopClient,
    /// A client process is killed, and another one comes.
    KillClient,
    /// Links are cut.
    Cut(Cut),
    /// What some nodes send takes longer, and never the same time.
    Slow,
    /// All connections break.
    Reset,
    /// Some packets are lost.
    Loss,
    /// Packets come late and in another order, and some are lost.
    Shuffle,
    /// Wall clocks jump.
    Wall,
    /// Clocks change between the extremes of what they may drift.
    Rates,
    /// Clocks run at any rate, and jump.
    BeyondRates,
    /// Nothing can be written, for want of room or worse.
    DiskFails,
    /// File systems have no room left.
    DiskFull,
    /// Everything that is synced takes long.
    DiskSlow,
    /// Nodes lose their power, and with it what they had not synced.
    Power(Many),
    /// An operator is at work.
    Operate(Change),
}

impl Kind {
    /// A word for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Kill(Many::One) => "kill",
            Self::Kill(Many::Majority) => "kill a majority",
            Self::Kill(Many::All) => "kill all",
            Self::Stop(Many::One) => "stop",
            Self::Stop(Many::Majority) => "stop a majority",
            Self::Stop(Many::All) => "stop all",
            Self::StopClient => "stop clients",
            Self::KillClient => "kill clients",
            Self::Cut(Cut::Split) => "split",
            Self::Cut(Cut::Isolate) => "isolate",
            Self::Cut(Cut::OneWay) => "one way",
            Self::Cut(Cut::Bridge) => "bridge",
            Self::Slow => "slow links",
            Self::Reset => "reset",
            Self::Loss => "lost packets",
            Self::Shuffle => "shuffled packets",
            Self::Wall => "wall clock jump",
            Self::Rates => "clock rates",
            Self::BeyondRates => "clocks beyond the bound",
            Self::DiskFails => "disk fails",
            Self::DiskFull => "disk full",
            Self::DiskSlow => "slow disk",
            Self::Power(Many::One) => "power cut",
            Self::Power(Many::Majority) => "power cut of a majority",
            Self::Power(Many::All) => "power cut of all",
            Self::Operate(Change::Replace) => "replace",
            Self::Operate(Change::Demote) => "demote",
            Self::Operate(Change::Leave) => "leave",
            Self::Operate(Change::Rolling) => "rolling restart",
        }
    }

    /// Whether two of these would undo each other.
    pub(super) const fn is_of_links(self) -> bool {
        matches!(self, Self::Cut(_) | Self::Slow | Self::Loss | Self::Shuffle)
    }
}
