//! Where events are lost, and of which kind.

/// Where events were lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LossPlace {
    /// The ring buffer was full, or a kernel-side table was.
    KernelBuffer,
    /// A record made no sense.
    Decode,
    /// The kernel skipped a program, because it was running on that processor already.
    KernelProgram,
    /// A queue inside the program was full.
    Queue,
    /// The ledger is full (`--max-holdings`): the port is told of, but not accounted.
    Ledger,
    /// The reader of the output did not take the lines, and there was no room to keep them for it.
    Output,
}

impl LossPlace {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::KernelBuffer,
        Self::KernelProgram,
        Self::Decode,
        Self::Queue,
        Self::Ledger,
        Self::Output,
    ];

    /// The name that the JSON has.
    pub fn name(self) -> &'static str {
        match self {
            Self::KernelBuffer => "kernel_buffer",
            Self::KernelProgram => "kernel_program",
            Self::Decode => "decode",
            Self::Queue => "queue",
            Self::Ledger => "ledger",
            Self::Output => "output",
        }
    }
}

/// What was lost: records of the kernel programs, by their kind; lines of the output, by their type; rows
/// of a recording.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names are those of the records and lines")]
pub enum LossKind {
    Acquire,
    Exhausted,
    Conflict,
    Inherit,
    TimeWait,
    Release,
    State,
    Exec,
    Fork,
    Accept,
    Listen,
    FinReceived,
    Existing,
    Rehash,
    Refused,
    Start,
    Threshold,
    Summary,
    Lost,
    Stop,
    /// A row of a recording.
    Record,
    /// An event of a recording.
    Event,
    /// Nobody knows of which.
    Unknown,
}

impl LossKind {
    /// All of them.
    pub const ALL: [Self; 23] = [
        Self::Acquire,
        Self::Exhausted,
        Self::Conflict,
        Self::Inherit,
        Self::TimeWait,
        Self::Release,
        Self::State,
        Self::Exec,
        Self::Fork,
        Self::Accept,
        Self::Listen,
        Self::FinReceived,
        Self::Existing,
        Self::Rehash,
        Self::Refused,
        Self::Start,
        Self::Threshold,
        Self::Summary,
        Self::Lost,
        Self::Stop,
        Self::Record,
        Self::Event,
        Self::Unknown,
    ];

    /// The name that the JSON and recordings have.
    pub fn name(self) -> &'static str {
        match self {
            Self::Acquire => "acquire",
            Self::Exhausted => "exhausted",
            Self::Conflict => "conflict",
            Self::Inherit => "inherit",
            Self::TimeWait => "time_wait",
            Self::Release => "release",
            Self::State => "state",
            Self::Exec => "exec",
            Self::Fork => "fork",
            Self::Accept => "accept",
            Self::Listen => "listen",
            Self::FinReceived => "fin_received",
            Self::Existing => "existing",
            Self::Rehash => "rehash",
            Self::Refused => "refused",
            Self::Start => "start",
            Self::Threshold => "threshold",
            Self::Summary => "summary",
            Self::Lost => "lost",
            Self::Stop => "stop",
            Self::Record => "record",
            Self::Event => "event",
            Self::Unknown => "unknown",
        }
    }

    /// The kind of this name; one that is not known is [`LossKind::Unknown`].
    pub fn of(name: &str) -> Self {
        Self::ALL.into_iter().find(|kind| kind.name() == name).unwrap_or(Self::Unknown)
    }

    /// What is held and counted is wrong from then on, until all is listed anew.
    pub fn needs_a_scan(self) -> bool {
        !matches!(self, Self::Exec | Self::Fork | Self::State | Self::Refused)
    }
}

#[cfg(test)]
mod tests {
    use super::LossKind;

    #[test]
    fn every_kind_is_found_by_its_name() {
        for kind in LossKind::ALL {
            assert_eq!(LossKind::of(kind.name()), kind);
        }
        assert_eq!(LossKind::of("acquired"), LossKind::Unknown);
    }
}
