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
    /// All of them.
    pub const ALL: [Self; 13] = [
        Self::Start,
        Self::Existing,
        Self::Acquire,
        Self::TimeWait,
        Self::Release,
        Self::Exhausted,
        Self::Conflict,
        Self::Refused,
        Self::Threshold,
        Self::State,
        Self::Summary,
        Self::Lost,
        Self::Stop,
    ];

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
            Self::State => "state",
            Self::Summary => "summary",
            Self::Lost => "lost",
            Self::Stop => "stop",
        }
    }
}
