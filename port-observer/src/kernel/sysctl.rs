//! Port settings of a network namespace. `/proc/sys/net` shows those of the thread that reads it
//! (`net/sysctl_net.c`, `net_ctl_header_lookup`).

use std::{fmt, fs::File, io, os::unix::fs::FileExt as _};

use anyhow::{Context, bail};

use super::netns::Namespace;
use crate::ports::{PortRange, Ports, ReservedPorts};

const RANGE: &str = "/proc/sys/net/ipv4/ip_local_port_range";
const RESERVED: &str = "/proc/sys/net/ipv4/ip_local_reserved_ports";
const TW_REUSE: &str = "/proc/sys/net/ipv4/tcp_tw_reuse";
const TW_REUSE_DELAY: &str = "/proc/sys/net/ipv4/tcp_tw_reuse_delay";
/// `tcp_tw_reuse_delay` where the kernel has no such setting (before Linux 6.13), in milliseconds.
const TW_REUSE_DELAY_MS: u32 = 1000;

/// A setting that is longer makes no sense: every second port reserved, by who owns a network
/// namespace, takes 200 KB.
const MOST_BYTES: usize = 256 << 10;
/// A list that is longer counts as long, see [`Files::long_bytes`].
const SHORT_BYTES: usize = 256;

/// Reads a namespace's settings, from within it.
///
/// # Errors
/// When the namespace can't be entered, or /proc/sys is not mounted or holds something else.
pub fn ports(namespace: &Namespace) -> anyhow::Result<Ports> {
    namespace.run(ports_here)
}

/// Reads the settings of the calling thread's namespace.
///
/// # Errors
/// As [`ports`].
pub fn ports_here() -> anyhow::Result<Ports> {
    let read = |path| {
        let mut setting = Setting::open(path)?;
        setting.look().with_context(|| format!("cannot read {path}"))?;
        anyhow::Ok(setting)
    };
    parse_ports(&read(RANGE)?, &read(RESERVED)?)
}

/// What decides who gets which port, from the files of one namespace: open, a file goes on showing
/// the namespace in which it was opened, and an error once that is gone.
#[derive(Debug)]
pub struct Files {
    range: Setting,
    reserved: Setting,
    tw_reuse: Setting,
    /// From Linux 6.13 on.
    tw_reuse_delay: Option<Setting>,
}

/// What [`Files`] hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Values {
    /// The range and the reserved ports.
    pub ports: Ports,
    /// `tcp_tw_reuse`
    pub tw_reuse: u8,
    /// `tcp_tw_reuse_delay`, milliseconds.
    pub tw_reuse_delay_ms: u32,
}

impl Files {
    /// Opens those of a namespace, from within it.
    ///
    /// # Errors
    /// When the namespace can't be entered, or /proc/sys is not mounted.
    pub fn open(namespace: &Namespace) -> anyhow::Result<Self> {
        namespace.run(|| {
            Ok(Self {
                range: Setting::open(RANGE)?,
                reserved: Setting::open(RESERVED)?,
                tw_reuse: Setting::open(TW_REUSE)?,
                tw_reuse_delay: Setting::open(TW_REUSE_DELAY).ok(),
            })
        })
    }

    /// Reads them anew: whether anything in them has changed since; `None` when the namespace is gone.
    pub fn look(&mut self) -> Option<bool> {
        let Self { range, reserved, tw_reuse, tw_reuse_delay } = self;
        let all = [Some(range), Some(reserved), Some(tw_reuse), tw_reuse_delay.as_mut()];
        let mut has_changed = false;
        for setting in all.into_iter().flatten() {
            has_changed |= setting.look().ok()?;
        }
        Some(has_changed)
    }

    /// The length of the list of reserved ports, if it is long.
    pub fn long_bytes(&self) -> usize {
        if self.reserved.text.len() > SHORT_BYTES { self.reserved.text.len() } else { 0 }
    }

    /// Does without that list until the next look: [`Files::values`] are [`TooLong`].
    pub fn leave_list(&mut self) {
        self.reserved.leave();
    }

    /// What they held when they were last read.
    ///
    /// # Errors
    /// When they make no sense.
    pub fn values(&self) -> anyhow::Result<Values> {
        let tw_reuse_delay_ms = match &self.tw_reuse_delay {
            None => TW_REUSE_DELAY_MS,
            Some(setting) => setting.number()?,
        };
        Ok(Values {
            ports: parse_ports(&self.range, &self.reserved)?,
            tw_reuse: self.tw_reuse.number()?,
            tw_reuse_delay_ms,
        })
    }
}

/// A file, with what it held when it was last read.
#[derive(Debug)]
struct Setting {
    path: &'static str,
    file: File,
    text: String,
    /// It held more than was taken: the text is empty.
    is_too_long: bool,
}

impl Setting {
    fn open(path: &'static str) -> anyhow::Result<Self> {
        let file = File::open(path).with_context(|| format!("cannot open {path}"))?;
        Ok(Self { path, file, text: String::new(), is_too_long: false })
    }

    /// Reads it from its beginning: whether it has changed since. In one piece, for the kernel gives no
    /// more of a list than fits into the first read (proc_do_large_bitmap, kernel/sysctl.c).
    fn look(&mut self) -> io::Result<bool> {
        let mut bytes = vec![0; self.text.len() + 64];
        loop {
            let length = self.file.read_at(&mut bytes, 0)?;
            if length < bytes.len() {
                bytes.truncate(length);
                if !self.is_too_long && bytes == self.text.as_bytes() {
                    return Ok(false);
                }
                self.is_too_long = false;
                self.text = String::from_utf8(bytes).map_err(io::Error::other)?;
                return Ok(true);
            }
            if length > MOST_BYTES {
                return Ok(!self.leave());
            }
            bytes.resize((bytes.len() * 4).min(MOST_BYTES + 1), 0);
        }
    }

    /// Does without what it holds; returns whether it did already.
    fn leave(&mut self) -> bool {
        self.text = String::new();
        std::mem::replace(&mut self.is_too_long, true)
    }

    fn text(&self) -> anyhow::Result<&str> {
        if self.is_too_long {
            return Err(TooLong.into());
        }
        Ok(&self.text)
    }

    fn number<T: std::str::FromStr>(&self) -> anyhow::Result<T> {
        let text = self.text()?.trim();
        text.parse().ok().with_context(|| format!("{}: not a number: {text:?}", self.path))
    }
}

/// A list that is longer than is taken, with those of other network namespaces.
#[derive(Clone, Copy, Debug)]
pub struct TooLong;

impl fmt::Display for TooLong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let most = MOST_BYTES >> 10;
        write!(f, "the list is longer than {most} KiB, or all lists together than what is kept")
    }
}

impl std::error::Error for TooLong {}

fn parse_ports(range: &Setting, reserved: &Setting) -> anyhow::Result<Ports> {
    Ok(Ports {
        ephemeral: parse_range(range.text()?).context(RANGE)?,
        reserved: reserved.text().and_then(parse_reserved).context(RESERVED)?,
    })
}

fn parse_range(text: &str) -> anyhow::Result<PortRange> {
    let mut words = text.split_ascii_whitespace();
    let (Some(min), Some(max), None) = (words.next(), words.next(), words.next()) else {
        bail!("expected two numbers, found {text:?}");
    };
    range(min, max)
}

fn range(min: &str, max: &str) -> anyhow::Result<PortRange> {
    let port = |text: &str| text.parse().with_context(|| format!("{text:?} is not a port"));
    let range = PortRange { min: port(min)?, max: port(max)? };
    if range.min > range.max {
        bail!("the range {min}-{max} is upside down");
    }
    Ok(range)
}

/// Parses a list as the kernel prints it: `8080,9148-9150`, or nothing.
///
/// # Errors
/// When a part is no port or range.
pub fn parse_reserved(text: &str) -> anyhow::Result<ReservedPorts> {
    let ranges = text
        .trim()
        .split(',')
        .filter(|part| !part.is_empty())
        .map(|part| {
            let (min, max) = part.split_once('-').unwrap_or((part, part));
            range(min, max)
        })
        .collect::<anyhow::Result<Vec<_>>>()?;
    Ok(ReservedPorts::new(ranges))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_range_is_two_numbers() {
        assert_eq!(parse_range("32768\t60999\n").unwrap(), PortRange { min: 32768, max: 60999 });
        for bad in ["", "1", "1 2 3", "a b", "60999 32768", "1 65536", "-1 5"] {
            assert!(parse_range(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn reserved_ports_are_joined_and_counted_within_a_range() {
        let reserved = parse_reserved("9148-9150,8080,9151,9149\n").unwrap();
        assert_eq!(
            reserved.ranges(),
            [PortRange { min: 8080, max: 8080 }, PortRange { min: 9148, max: 9151 }]
        );
        assert!(reserved.contains(9150) && !reserved.contains(9152));
        assert_eq!(reserved.count_in(PortRange { min: 9150, max: 10000 }), 2);
        assert_eq!(reserved.count_in(PortRange { min: 1, max: 65535 }), 5);
        assert_eq!(parse_reserved("\n").unwrap(), ReservedPorts::default());
        assert_eq!(parse_reserved("65535,65534-65535").unwrap().ranges().len(), 1);
        for bad in ["x", "1-", "5-3", "70000", "1-2-3"] {
            assert!(parse_reserved(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn capacity_leaves_the_reserved_ports_out() {
        let ports = Ports {
            ephemeral: PortRange { min: 40000, max: 40099 },
            reserved: parse_reserved("40000-40009,50000").unwrap(),
        };
        assert_eq!(ports.capacity(), 90);
    }

    #[test]
    fn a_long_list_of_reserved_ports_is_read_whole() {
        crate::kernel::testing::in_fresh_namespace(|| {
            let list: Vec<String> = (0..3000).map(|n| (10_000 + 2 * n).to_string()).collect();
            if std::fs::write(RESERVED, list.join(",")).is_err() {
                println!("skipped: no privilege to set reserved ports");
                return;
            }
            assert_eq!(ports_here().unwrap().reserved.ranges().len(), 3000);
        });
    }

    #[test]
    fn a_list_of_reserved_ports_beyond_the_limit_is_not_taken_until_it_is_shorter() {
        use crate::kernel::{netns::Namespace, testing::in_fresh_namespace};

        in_fresh_namespace(|| {
            let list: Vec<String> = (1..30_000).map(|n| (2 * n).to_string()).collect();
            if std::fs::write(RESERVED, list.join(",")).is_err() {
                println!("skipped: no privilege to reserve ports");
                return;
            }
            let mut files = Files::open(&Namespace::own().unwrap()).unwrap();
            assert_eq!(files.look(), Some(true));
            for error in [files.values().unwrap_err(), ports_here().unwrap_err()] {
                assert!(error.downcast_ref::<TooLong>().is_some(), "{error:#}");
            }
            assert_eq!((files.look(), files.long_bytes()), (Some(false), 0));
            std::fs::write(RESERVED, list[..1_000].join(",")).unwrap();
            assert_eq!(files.look(), Some(true));
            assert_eq!(files.values().unwrap().ports.reserved.ranges().len(), 1_000);
            assert!(files.long_bytes() > 1_000);
            files.leave_list();
            assert!(files.values().is_err() && files.look() == Some(true));
            assert!(files.values().is_ok() && files.look() == Some(false));
        });
    }

    #[test]
    fn open_files_show_changes_of_their_namespace_and_then_its_end() {
        use std::time::{Duration, Instant};

        use crate::kernel::{netns::Namespace, testing::in_fresh_namespace};

        let own = Namespace::own().unwrap().inode;
        let files = in_fresh_namespace(|| {
            let namespace = Namespace::own().unwrap();
            if namespace.inode == own || std::fs::write(RANGE, "40000 40099").is_err() {
                return None;
            }
            let mut files = Files::open(&namespace).unwrap();
            assert_eq!(files.look(), Some(true));
            assert_eq!(files.values().unwrap().ports.capacity(), 100);
            assert_eq!(files.look(), Some(false));
            std::fs::write(RANGE, "40000 40009").unwrap();
            std::fs::write(TW_REUSE, "1").unwrap();
            assert_eq!(files.look(), Some(true));
            let values = files.values().unwrap();
            assert_eq!((values.ports.capacity(), values.tw_reuse), (10, 1));
            Some(files)
        });
        let Some(mut files) = files else {
            println!("skipped: no privilege to make a network namespace and set it up");
            return;
        };
        let end = Instant::now() + Duration::from_secs(20);
        while files.look().is_some() {
            assert!(Instant::now() < end, "the namespace is gone and its settings are not");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    #[test]
    fn this_namespace_has_a_range() {
        assert!(ports_here().unwrap().ephemeral.count() > 0);
    }
}
