//! Text that others chose (names of processes, of containers) must not drive a terminal.

use std::borrow::Cow;
use std::fmt::{self, Display, Write as _};
use std::io::{self, Write};

use serde::Serialize;
use serde_json::{Serializer, ser::Formatter};

/// Whether the character could do something to a terminal or to the order of what is read:
/// control characters (C0, DEL, C1), line ends, and marks that direct writing or have no width.
fn is_hostile(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{ad}'
                | '\u{61c}'
                | '\u{180e}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{feff}'
                | '\u{fff9}'..='\u{fffb}'
                | '\u{e0000}'..='\u{e007f}'
        )
}

/// The text with such characters written as `\n`, `\x1b` or `\u{202e}`.
pub fn escape(text: &str) -> Cow<'_, str> {
    if !text.contains(is_hostile) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c {
            '\t' | '\r' | '\n' => escaped.extend(c.escape_default()),
            c if c.is_ascii_control() => {
                escaped.extend(
                    u8::try_from(c)
                        .into_iter()
                        .flat_map(std::ascii::escape_default)
                        .map(char::from),
                );
            }
            c if is_hostile(c) => escaped.extend(c.escape_unicode()),
            c => escaped.push(c),
        }
    }
    Cow::Owned(escaped)
}

/// The text of something, escaped.
pub struct Escaped<T>(pub T);

impl<T: Display> Display for Escaped<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::new();
        write!(text, "{}", self.0)?;
        // Where a text of the program's own goes on in the next line, it does.
        for (number, line) in text.split('\n').enumerate() {
            if number > 0 {
                formatter.write_char('\n')?;
            }
            formatter.write_str(&escape(line))?;
        }
        Ok(())
    }
}

/// Writes JSON that does nothing to a terminal, whatever text is in it.
///
/// # Errors
/// Writing failed, or a value has no form in JSON.
pub fn write_json(value: &impl Serialize, out: impl Write) -> serde_json::Result<()> {
    value.serialize(&mut Serializer::with_formatter(out, SafeJson))
}

/// The same as one line, without its end.
///
/// # Errors
/// A value has no form in JSON.
pub fn json_line(value: &impl Serialize) -> serde_json::Result<String> {
    let mut bytes = Vec::new();
    write_json(value, &mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// JSON as serde_json writes it, with those characters escaped too that JSON leaves as they are
/// and a terminal doesn't: DEL, C1, and marks that direct writing.
#[derive(Clone, Debug, Default)]
struct SafeJson;

impl Formatter for SafeJson {
    fn write_string_fragment<W: ?Sized + Write>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        // ASCII's own control characters but DEL are escaped before a fragment is made.
        if fragment.bytes().all(|byte| byte < 0x7f) {
            return writer.write_all(fragment.as_bytes());
        }
        let mut rest = fragment;
        while let Some((at, c)) = rest.char_indices().find(|(_, c)| is_hostile(*c)) {
            writer.write_all(&rest.as_bytes()[..at])?;
            for unit in c.encode_utf16(&mut [0; 2]) {
                write!(writer, "\\u{unit:04x}")?;
            }
            rest = &rest[at + c.len_utf8()..];
        }
        writer.write_all(rest.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_drives_a_terminal_is_escaped_and_lines_stay() {
        let hostile = anyhow::anyhow!("no such table: \x1b]0;PWNED\x07\u{202e}").context("a\nb");
        let text = Escaped(format_args!("{hostile:#}")).to_string();
        assert_eq!(text, "a\nb: no such table: \\x1b]0;PWNED\\x07\\u{202e}");
    }

    #[test]
    fn plain_text_of_any_script_stays_as_it_is() {
        for text in ["", "nginx: worker", "dev-disk\\x2dby", "Zoë", "服务器", "'\"\\"] {
            assert!(matches!(escape(text), Cow::Borrowed(same) if same == text));
        }
    }

    #[test]
    fn what_drives_a_terminal_is_written_out() {
        assert_eq!(escape("a\x1b[31mb"), "a\\x1b[31mb");
        assert_eq!(escape("a\nb\r\tc\0"), "a\\nb\\r\\tc\\x00");
        assert_eq!(escape("\x7f\u{9b}31m"), "\\x7f\\u{9b}31m");
        assert_eq!(escape("\u{202e}gnp.exe\u{2028}"), "\\u{202e}gnp.exe\\u{2028}");
    }

    #[test]
    fn json_escapes_it_too_and_reads_back_the_same() {
        let text = "a\x1b[\x7f\u{9b}31m \u{202e}\u{e0041} \"\\ Zoë 服\n";
        let json = json_line(&text).unwrap();
        assert!(!json.contains(is_hostile), "{json:?}");
        assert_eq!(serde_json::from_str::<String>(&json).unwrap(), text);
    }
}
