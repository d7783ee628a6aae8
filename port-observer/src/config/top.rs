//! What `top` works with.

use std::{path::PathBuf, time::Duration};

use jiff::tz::TimeZone;

use super::{Format, Lines, LiveConfig, Output, resolve_netns, uses_color};
use crate::{
    cli,
    filter::Filter,
    recording::Moment,
    screen::{state::View, view::Look},
};

/// What `top` does.
#[derive(Clone, Debug, PartialEq)]
pub struct TopConfig {
    /// How often the screen changes, and how long a step is.
    pub every: Duration,
    /// The view that comes first.
    pub view: View,
    /// What the terminal can show.
    pub look: Look,
    /// A recording, and from when on it is shown.
    pub replay: Option<(PathBuf, Option<Moment>)>,
    /// How the kernel is observed, and what is accounted.
    pub live: LiveConfig,
}

impl TopConfig {
    /// Resolves the arguments; `netns` as for [`LiveConfig::resolve`].
    ///
    /// # Errors
    /// A namespace can't be resolved.
    pub fn resolve(
        args: cli::TopArgs,
        color: cli::Color,
        netns: &dyn Fn(&str) -> anyhow::Result<u32>,
    ) -> anyhow::Result<Self> {
        let filter = Filter { netns: resolve_netns(&args.netns, netns)?, ..Filter::default() };
        let output = Output { format: Format::Table, color: uses_color(color, &std::io::stdout()) };
        let lines = Lines {
            max_holdings: args.limit.max_holdings.get(),
            filter,
            ..Lines::everything(output)
        };
        let variable = |name: &str| std::env::var(name).ok();
        Ok(Self {
            every: args.every,
            view: args.view,
            look: Look {
                color: output.color,
                unicode: is_utf8(variable),
                time_zone: TimeZone::system(),
            },
            replay: args.replay.map(|path| (path, args.from)),
            live: LiveConfig {
                backend: args.observe.backend.0,
                duration: None,
                states: false,
                buffer_size: args.observe.buffer_size,
                recording: None,
                is_silent: true,
                program: None,
                pools: (!args.pools.is_empty()).then_some(args.pools),
                lines,
            },
        })
    }
}

/// Whether the terminal is to be written to in UTF-8 (locale(7)): of the three variables, the first
/// that is set and not empty says so. Where none is, nothing says that it is not.
fn is_utf8(variable: impl Fn(&str) -> Option<String>) -> bool {
    let mut set = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().filter_map(variable);
    let Some(locale) = set.find(|value| !value.is_empty()) else { return true };
    let locale = locale.to_ascii_lowercase();
    locale.contains("utf-8") || locale.contains("utf8")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_locale_that_is_set_says_whether_unicode_is_drawn() {
        let of = |set: &[(&str, &str)]| {
            let find = |name: &str| set.iter().find(|(one, _)| *one == name);
            is_utf8(|name| find(name).map(|(_, value)| (*value).to_owned()))
        };
        assert!(of(&[("LANG", "en_GB.UTF-8")]));
        assert!(of(&[("LC_ALL", "C.utf8"), ("LANG", "C")]));
        assert!(of(&[("LC_ALL", ""), ("LANG", "de_DE.UTF-8@euro")]));
        assert!(!of(&[("LC_ALL", "C"), ("LANG", "en_GB.UTF-8")]));
        assert!(!of(&[("LANG", "en_GB.ISO-8859-1")]));
        assert!(of(&[]));
    }
}
