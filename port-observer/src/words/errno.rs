//! Errors of calls, by name.

use std::fmt;

use nix::errno::Errno;
use serde::{Serialize, Serializer};

/// An error's name alone, such as `EADDRINUSE`; its number where it has no name.
#[derive(Clone, Copy, Debug)]
pub struct ErrorName(pub i32);

impl fmt::Display for ErrorName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match Errno::from_raw(self.0) {
            Errno::UnknownErrno => write!(formatter, "{}", self.0),
            known => write!(formatter, "{known:?}"),
        }
    }
}

impl Serialize for ErrorName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// An error's name, and what programs print of it.
pub fn error(errno: i32) -> String {
    match Errno::from_raw(errno) {
        Errno::UnknownErrno => format!("error {errno}"),
        known => format!("{known:?} {}", known.desc()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_have_their_name_and_the_words_that_programs_print() {
        assert_eq!(error(99), "EADDRNOTAVAIL Cannot assign requested address");
        assert_eq!(error(98), "EADDRINUSE Address already in use");
        assert_eq!(error(9999), "error 9999");
    }

    #[test]
    fn an_error_without_a_name_is_its_number() {
        assert_eq!(ErrorName(98).to_string(), "EADDRINUSE");
        assert_eq!(ErrorName(9999).to_string(), "9999");
        assert_eq!(serde_json::to_string(&ErrorName(98)).unwrap(), "\"EADDRINUSE\"");
    }
}
