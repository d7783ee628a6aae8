//! How a command ended.

use std::{io, sync::Arc};

/// How a command ended.
#[derive(Clone, Debug)]
pub enum End {
    /// With this exit code.
    Exited(i32),
    /// By this signal.
    Signaled(i32),
    /// It never began.
    NotExecuted(Arc<io::Error>),
}

/// Exit codes of shells and of env(1).
const NOT_FOUND: u8 = 127;
const CANT_BE_EXECUTED: u8 = 126;
/// A command that was ended by a signal has the signal's number more than this.
const BY_SIGNAL: i32 = 128;

impl End {
    /// The exit code that says so.
    pub fn exit_code(&self) -> u8 {
        match self {
            // The kernel keeps eight bits of it.
            Self::Exited(code) => u8::try_from(*code).unwrap_or(u8::MAX),
            Self::Signaled(number) => u8::try_from(BY_SIGNAL + number).unwrap_or(u8::MAX),
            Self::NotExecuted(error) => exit_code(error),
        }
    }

    /// The same in words, as the end of a sentence that begins with the command.
    pub fn words(&self) -> String {
        match self {
            Self::Exited(0) => "ended".to_owned(),
            Self::Exited(code) => format!("ended with exit code {code}"),
            Self::Signaled(number) => {
                let name = nix::sys::signal::Signal::try_from(*number);
                let name = name.map_or_else(|_| number.to_string(), |name| name.to_string());
                format!("was ended by {name}")
            }
            Self::NotExecuted(_) => "never began".to_owned(),
        }
    }
}

/// The exit code when execve() fails so.
pub(super) fn exit_code(error: &io::Error) -> u8 {
    if error.kind() == io::ErrorKind::NotFound { NOT_FOUND } else { CANT_BE_EXECUTED }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_are_those_that_a_shell_has() {
        let failed = |errno| End::NotExecuted(Arc::new(io::Error::from_raw_os_error(errno)));
        for (end, code) in [
            (End::Exited(0), 0),
            (End::Exited(255), 255),
            (End::Signaled(libc::SIGTERM), 143),
            (End::Signaled(64), 192),
            (failed(libc::ENOENT), 127),
            (failed(libc::EACCES), 126),
            (failed(libc::ENOEXEC), 126),
            (failed(libc::E2BIG), 126),
        ] {
            assert_eq!(end.exit_code(), code, "{end:?}");
        }
    }

    #[test]
    fn a_signal_is_named() {
        assert_eq!(End::Signaled(libc::SIGKILL).words(), "was ended by SIGKILL");
        assert_eq!(End::Signaled(35).words(), "was ended by 35");
        assert_eq!(End::Exited(3).words(), "ended with exit code 3");
    }
}
