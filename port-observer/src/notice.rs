//! What is said to who sits at the terminal, beside the output: the one place that writes such text
//! to standard error. Whatever file, process or kernel it came from, it drives no terminal.

use std::fmt::Display;

use crate::{logging, words::escape::Escaped};

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
    logging::finish();
    std::process::exit(error.exit_code());
}

/// A line. That nobody can read it is no failure, and holds nobody up.
pub(crate) fn say(text: impl Display) {
    logging::write(&format!("{}\n", Escaped(text)));
}
