//! The `type` of a line.

/// The `type` of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum EventType {
    /// First line.
    Start,
    /// A port that was held when observing began.
    Existing,
    /// A local port was taken.
    Acquire,
    /// TIME_WAIT keeps the port.
    TimeWait,
    /// The port is free again.
    Release,
    /// The kernel had no port to give.
    Exhausted,
    /// A fixed port was not to be had.
    Conflict,
    /// A call failed with the words of exhaustion, and it is none.
    Refused,
    /// A space crossed a threshold.
    Threshold,
    /// A declared pool crossed a threshold.
    PoolThreshold,
    /// A declared pool is full.
    PoolExhausted,
    /// A pool's owner took a port elsewhere.
    PoolWrongRange,
    /// Somebody else took a port of a pool.
    PoolTaken,
    /// A TCP state change.
    State,
    /// Namespaces, spaces and processes at one moment.
    Summary,
    /// Events were lost.
    Lost,
    /// Last line.
    Stop,
}

impl EventType {
    /// Those of pools.
    pub const OF_POOLS: [Self; 4] =
        [Self::PoolThreshold, Self::PoolExhausted, Self::PoolWrongRange, Self::PoolTaken];

    /// All of them.
    pub const ALL: [Self; 17] = [
        Self::Start,
        Self::Existing,
        Self::Acquire,
        Self::TimeWait,
        Self::Release,
        Self::Exhausted,
        Self::Conflict,
        Self::Refused,
        Self::Threshold,
        Self::PoolThreshold,
        Self::PoolExhausted,
        Self::PoolWrongRange,
        Self::PoolTaken,
        Self::State,
        Self::Summary,
        Self::Lost,
        Self::Stop,
    ];

    /// The name that has room in a column of a table.
    pub fn short_name(self) -> &'static str {
        match self {
            Self::PoolThreshold => "pool",
            Self::PoolExhausted => "pool full",
            Self::PoolWrongRange => "elsewhere",
            Self::PoolTaken => "stranger",
            other => other.name(),
        }
    }

    /// The name that the JSON has.
    pub fn name(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Existing => "existing",
            Self::Acquire => "acquire",
            Self::TimeWait => "time_wait",
            Self::Release => "release",
            Self::Exhausted => "exhausted",
            Self::Conflict => "conflict",
            Self::Refused => "refused",
            Self::Threshold => "threshold",
            Self::PoolThreshold => "pool_threshold",
            Self::PoolExhausted => "pool_exhausted",
            Self::PoolWrongRange => "pool_wrong_range",
            Self::PoolTaken => "pool_taken",
            Self::State => "state",
            Self::Summary => "summary",
            Self::Lost => "lost",
            Self::Stop => "stop",
        }
    }
}
