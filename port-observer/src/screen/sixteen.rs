//! Sixteen colours as terminals that have no more know them.

use std::io::{self, Write};

/// Holds a frame back until it is whole, and names its colours as SGR 30 to 37 and 90 to 97 do:
/// crossterm names them by their place among 256 (`38;5;1`), which an older terminal takes for blinking.
#[derive(Debug)]
pub struct Sixteen<W> {
    frame: Vec<u8>,
    out: W,
}

impl<W: Write> Sixteen<W> {
    /// Writes to `out`, at every flush.
    pub fn new(out: W) -> Self {
        Self { frame: Vec::new(), out }
    }
}

impl<W: Write> Write for Sixteen<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.frame.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let frame = renamed(&std::mem::take(&mut self.frame));
        self.out.write_all(&frame)?;
        self.out.flush()
    }
}

fn renamed(frame: &[u8]) -> Vec<u8> {
    const BEGIN: &[u8] = b"\x1b[";
    let mut out = Vec::with_capacity(frame.len());
    let mut rest = frame;
    while let Some(at) = rest.windows(BEGIN.len()).position(|window| window == BEGIN) {
        let (before, sequence) = rest.split_at(at + BEGIN.len());
        out.extend_from_slice(before);
        let length = sequence.iter().take_while(|b| b.is_ascii_digit() || **b == b';').count();
        let (parameters, after) = sequence.split_at(length);
        match (after.first(), std::str::from_utf8(parameters)) {
            (Some(b'm'), Ok(parameters)) => out.extend(attributes(parameters).into_bytes()),
            _ => out.extend_from_slice(parameters),
        }
        rest = after;
    }
    out.extend_from_slice(rest);
    out
}

/// The parameters of one sequence.
fn attributes(parameters: &str) -> String {
    let mut all = parameters.split(';').peekable();
    let mut named = Vec::new();
    while let Some(one) = all.next() {
        let base: u8 = match one {
            "38" => 30,
            "48" => 40,
            _ => {
                named.push(one.to_owned());
                continue;
            }
        };
        if all.next_if_eq(&"5").is_none() {
            named.push(one.to_owned());
            continue;
        }
        match all.next().and_then(|color| color.parse::<u8>().ok()) {
            Some(color @ 0..8) => named.push((base + color).to_string()),
            Some(color @ 8..16) => named.push((base + 60 + color - 8).to_string()),
            Some(color) => named.push(format!("{one};5;{color}")),
            None => {}
        }
    }
    named.join(";")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> String {
        String::from_utf8(renamed(text.as_bytes())).unwrap()
    }

    #[test]
    fn the_sixteen_colours_have_the_names_that_every_terminal_knows() {
        assert_eq!(of("a\x1b[38;5;1mb\x1b[48;5;9mc"), "a\x1b[31mb\x1b[101mc");
        assert_eq!(of("\x1b[38;5;3;49m"), "\x1b[33;49m");
        assert_eq!(of("\x1b[1;38;5;8;48;5;0m"), "\x1b[1;90;40m");
    }

    #[test]
    fn all_else_stays_as_it_is() {
        for text in ["", "plain → text", "\x1b[0m\x1b[1;7m", "\x1b[12;5H", "\x1b[?25l", "\x1b["] {
            assert_eq!(of(text), text);
        }
        assert_eq!(of("\x1b[38;5;200m\x1b[38;2;1;2;3m"), "\x1b[38;5;200m\x1b[38;2;1;2;3m");
    }

    #[test]
    fn a_frame_is_written_in_one_piece() {
        let mut sixteen = Sixteen::new(Vec::new());
        sixteen.write_all(b"\x1b[38;").unwrap();
        sixteen.write_all(b"5;2m").unwrap();
        assert!(sixteen.out.is_empty());
        sixteen.flush().unwrap();
        assert_eq!(sixteen.out, b"\x1b[32m");
    }
}
