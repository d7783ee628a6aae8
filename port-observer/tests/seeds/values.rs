//! Every parser of values that users write: as words of a command line, and alone.

use jiff::tz::TimeZone;
use port_observer::{
    cli::{Cli, unknown},
    filter::{Destination, PortRange},
    recording::Moment,
};

/// Takes any bytes: a command line, a word a line.
pub fn run(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let words = || std::iter::once("port-observer").chain(text.lines());
    if let Err(error) = Cli::read(words()) {
        let _ = error.render().to_string();
        let _ = unknown(words().map(Into::into), &error);
    }
    for word in text.lines() {
        for end_ns in [i64::MIN, 0, i64::MAX] {
            let _ = word.parse::<Moment>().map(|moment| moment.resolve(end_ns, &TimeZone::UTC));
        }
        if let Ok(range) = word.parse::<PortRange>() {
            let (first, last) = range.ends();
            assert!(range.has(first) && range.has(last), "{word:?}");
        }
        let _ = word.parse::<Destination>();
    }
}
