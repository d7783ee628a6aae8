//! What is said to who sits at the terminal, beside the output: the one place that writes such text
//! to standard error. Whatever file, process or kernel it came from, it drives no terminal.

use std::{
    fmt::{self, Display, Write as _},
    io::{self, Write as _},
};

use crate::sink::escape::escape;

/// The last word of a command that failed, with all of its causes.
pub fn error(error: &anyhow::Error) {
    say(format_args!("port-observer: {error:#}"));
}

/// Why the arguments were refused, or the help that they ask for; exits.
pub fn exit_with_usage(error: &clap::Error) -> ! {
    let text = error.render().to_string();
    if Escaped(&text).to_string() == text {
        error.exit();
    }
    // An argument could drive the terminal; the styles of the message go with that.
    say(Escaped(text.trim_end()));
    std::process::exit(error.exit_code());
}

/// A line. That nobody can read it is no failure: `eprintln!` would panic when standard error is
/// closed.
pub(crate) fn say(text: impl Display) {
    let _ = writeln!(io::stderr().lock(), "{}", Escaped(text));
}

/// The text of something, escaped.
pub(crate) struct Escaped<T>(pub(crate) T);

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_drives_a_terminal_is_escaped_and_lines_stay() {
        let hostile = anyhow::anyhow!("no such table: \x1b]0;PWNED\x07\u{202e}").context("a\nb");
        let text = Escaped(format_args!("{hostile:#}")).to_string();
        assert_eq!(text, "a\nb: no such table: \\x1b]0;PWNED\\x07\\u{202e}");
    }
}
