//! A range as the seeds have it: `MIN-MAX`, both included.

use crate::ports::PortRange;

/// Reads a range.
///
/// # Errors
/// Why it is none, as the end of a sentence.
pub fn parse(text: &str) -> Result<PortRange, String> {
    let text = text.trim();
    let Some((min, max)) = text.split_once('-') else {
        return Err(match is_number(text) {
            true => "one number is no range".to_owned(),
            false => "it is not min-max".to_owned(),
        });
    };
    // One digit may come after a hyphen too: `5--1`, `-1-5`.
    for end in [min, max] {
        if !is_number(end) {
            return Err(format!("{end:?} is not an integer"));
        }
    }
    let min = port(min)?;
    let max = port(max)?;
    if min > max {
        return Err(format!("min ({min}) is greater than max ({max})"));
    }
    Ok(PortRange { min, max })
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn port(text: &str) -> Result<u16, String> {
    match text.parse() {
        Ok(0) | Err(_) => Err(format!("{text} is outside of the valid range 1-65535")),
        Ok(port) => Ok(port),
    }
}

/// What a range has to look like.
pub const FIX: &str = "write it as min-max, e.g. 19000-19499: two integers from 1 to 65535, min not \
                       greater than max";

/// A range as it is written.
pub fn show(range: PortRange) -> String {
    format!("{}-{}", range.min, range.max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_two_ports_in_order() {
        for (text, min, max) in
            [("19000-19499", 19_000, 19_499), (" 1-65535 ", 1, 65_535), ("7-7", 7, 7)]
        {
            assert_eq!(parse(text), Ok(PortRange { min, max }));
        }
        for (text, reason) in [
            ("", "it is not min-max"),
            ("19000", "one number is no range"),
            ("19000:19499", "it is not min-max"),
            ("19000 - 19499", "\"19000 \" is not an integer"),
            ("-", "\"\" is not an integer"),
            ("a-b", "\"a\" is not an integer"),
            ("1-", "\"\" is not an integer"),
            ("1-2-3", "\"2-3\" is not an integer"),
            ("+1-5", "\"+1\" is not an integer"),
            ("1.5-3", "\"1.5\" is not an integer"),
            ("0x10-20", "\"0x10\" is not an integer"),
            ("5-1", "min (5) is greater than max (1)"),
            ("0-5", "0 is outside of the valid range 1-65535"),
            ("65000-65536", "65536 is outside of the valid range 1-65535"),
            (
                "1-99999999999999999999",
                "99999999999999999999 is outside of the valid range 1-65535",
            ),
            ("١-٢", "\"١\" is not an integer"),
        ] {
            assert_eq!(parse(text), Err(reason.to_owned()), "{text:?}");
        }
    }
}
