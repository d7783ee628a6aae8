//! The settings of network namespaces, followed. The kernel tells nobody when they change, so they
//! are read again and again.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use anyhow::Result;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::{
    event::{Event, NamespaceSettings},
    kernel::{
        netns::{self, Namespace},
        sysctl::Files,
    },
};

/// How often the settings are read.
const READ: Duration = Duration::from_millis(100);
/// How often new namespaces are looked for, if no event names one.
const LIST: Duration = Duration::from_secs(1);
/// With very many namespaces less often: either may take one part in so many of the time.
const COST: u32 = 20;
/// The same for namespaces that events name.
const FIND_COST: u32 = 4;
/// How many namespaces that were not found are remembered.
const MAX_UNFOUND: usize = 4096;

/// The namespaces that are known, with their settings.
#[derive(Debug)]
pub struct Settings {
    /// Only these; empty: all.
    only: Vec<u32>,
    /// No other than that of this thread may be looked into.
    own_only: bool,
    known: HashMap<u32, Watched>,
    /// Named by an event and not found, with the time until which that holds.
    unfound: HashMap<u32, Instant>,
    next_find: Instant,
    next_read: Instant,
    next_list: Instant,
}

#[derive(Debug)]
struct Watched {
    files: Files,
    settings: NamespaceSettings,
}

impl Settings {
    /// Knows none yet.
    pub fn new(only: Vec<u32>, own_only: bool) -> Self {
        raise_open_files();
        Self {
            only,
            own_only,
            known: HashMap::new(),
            unfound: HashMap::new(),
            next_find: Instant::now(),
            next_read: Instant::now(),
            next_list: Instant::now(),
        }
    }

    /// Whether a namespace that an event names should be looked for.
    pub fn is_news(&self, netns: u32) -> bool {
        let now = Instant::now();
        !self.known.contains_key(&netns)
            && self.next_find <= now
            && self.unfound.get(&netns).is_none_or(|until| *until <= now)
    }

    /// All namespaces that may still be there, found or not.
    pub fn inodes(&self) -> impl Iterator<Item = u32> {
        self.known.keys().chain(self.unfound.keys()).copied()
    }

    /// Looks for a namespace that an event names, before the event is handed on.
    pub fn find(&mut self, netns: u32) -> Vec<Event> {
        let mut events = Vec::new();
        let now = Instant::now();
        self.list(&mut events);
        if !self.known.contains_key(&netns) {
            if self.unfound.len() >= MAX_UNFOUND {
                self.unfound.clear();
            }
            self.unfound.insert(netns, now + LIST);
        }
        self.next_find = now + now.elapsed() * FIND_COST;
        events
    }

    /// What is new since the last call, if it is time to look.
    pub fn poll(&mut self) -> Vec<Event> {
        let mut events = Vec::new();
        let now = Instant::now();
        if self.next_read <= now {
            self.read(&mut events);
            self.next_read = now + READ.max(now.elapsed() * COST);
        }
        let now = Instant::now();
        if self.next_list <= now {
            self.list(&mut events);
            self.next_list = now + LIST.max(now.elapsed() * COST);
        }
        events
    }

    /// The namespaces as of now, those not asked for left out.
    ///
    /// # Errors
    /// When /proc can't be read.
    pub fn namespaces(&self) -> Result<Vec<Namespace>> {
        if self.own_only {
            return Ok(vec![Namespace::own()?]);
        }
        let mut namespaces = netns::list()?.namespaces;
        namespaces.retain(|one| self.only.is_empty() || self.only.contains(&one.inode));
        Ok(namespaces)
    }

    fn read(&mut self, events: &mut Vec<Event>) {
        self.known.retain(|&netns, watched| match watched.look() {
            Ok(Look::Same) => true,
            Ok(Look::Changed) => {
                events.push(Event::Namespace(Box::new(watched.settings.clone())));
                true
            }
            Ok(Look::Gone) => {
                events.push(Event::NamespaceGone(netns));
                false
            }
            Err(error) => {
                log::debug!("the settings of namespace {netns} stay as they were: {error:#}");
                true
            }
        });
    }

    fn list(&mut self, events: &mut Vec<Event>) {
        let namespaces = match self.namespaces() {
            Ok(namespaces) => namespaces,
            Err(error) => {
                log::warn!("new network namespaces are not seen: {error:#}");
                return;
            }
        };
        for namespace in namespaces {
            if let Some(watched) = self.known.get_mut(&namespace.inode) {
                if watched.settings.names != namespace.names {
                    watched.settings.names = namespace.names;
                    events.push(Event::Namespace(Box::new(watched.settings.clone())));
                }
                continue;
            }
            match Watched::new(&namespace) {
                Ok(Some(watched)) => {
                    events.push(Event::Namespace(Box::new(watched.settings.clone())));
                    self.unfound.remove(&namespace.inode);
                    self.known.insert(namespace.inode, watched);
                }
                Ok(None) => {}
                Err(error) => {
                    let netns = namespace.inode;
                    log::debug!("the settings of namespace {netns} are not known: {error:#}");
                }
            }
        }
    }
}

/// The settings of a namespace now; `None`: it is gone.
///
/// # Errors
/// When it can't be entered, or its settings make no sense.
pub fn read(namespace: &Namespace) -> Result<Option<NamespaceSettings>> {
    Ok(Watched::new(namespace)?.map(|watched| watched.settings))
}

/// Lets this process have as many files open as it may: there are some per namespace.
fn raise_open_files() {
    if let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE)
        && soft < hard
        && let Err(error) = setrlimit(Resource::RLIMIT_NOFILE, hard, hard)
    {
        log::debug!("no more than {soft} files can be open: {error}");
    }
}

/// What became of settings.
enum Look {
    Same,
    Changed,
    Gone,
}

impl Watched {
    fn new(namespace: &Namespace) -> Result<Option<Self>> {
        let files = Files::open(namespace)?;
        Ok(files.read()?.map(|values| {
            let settings = NamespaceSettings {
                netns: namespace.inode,
                names: namespace.names.clone(),
                ports: values.ports,
                tw_reuse: values.tw_reuse,
                tw_reuse_delay_ms: values.tw_reuse_delay_ms,
            };
            Self { files, settings }
        }))
    }

    fn look(&mut self) -> Result<Look> {
        let Some(values) = self.files.read()? else { return Ok(Look::Gone) };
        let settings = &mut self.settings;
        let is_same = settings.ports == values.ports
            && settings.tw_reuse == values.tw_reuse
            && settings.tw_reuse_delay_ms == values.tw_reuse_delay_ms;
        settings.ports = values.ports;
        settings.tw_reuse = values.tw_reuse;
        settings.tw_reuse_delay_ms = values.tw_reuse_delay_ms;
        Ok(if is_same { Look::Same } else { Look::Changed })
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::kernel::testing::in_fresh_namespace;

    const RANGE: &str = "/proc/sys/net/ipv4/ip_local_port_range";

    fn told(events: Vec<Event>, netns: u32) -> Vec<Event> {
        let about = |event: &Event| match event {
            Event::Namespace(settings) => settings.netns == netns,
            Event::NamespaceGone(gone) => *gone == netns,
            _ => false,
        };
        events.into_iter().filter(about).collect()
    }

    fn capacity(events: &[Event]) -> u32 {
        let [Event::Namespace(settings)] = events else { panic!("{events:?}") };
        settings.ports.capacity()
    }

    /// Calls `poll` until it tells something of the namespace.
    fn next(settings: &mut Settings, netns: u32) -> Vec<Event> {
        let end = Instant::now() + Duration::from_secs(20);
        loop {
            let events = told(settings.poll(), netns);
            if !events.is_empty() || Instant::now() > end {
                return events;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    #[test]
    fn a_namespace_is_told_once_then_its_changes_then_its_end() {
        let own = Namespace::own().unwrap().inode;
        let mut settings = Settings::new(Vec::new(), false);
        let followed = in_fresh_namespace(|| {
            let netns = Namespace::own().unwrap().inode;
            if netns == own || fs::write(RANGE, "40000 40099").is_err() {
                return None;
            }
            assert!(settings.is_news(netns));
            assert_eq!(capacity(&told(settings.find(netns), netns)), 100);
            assert!(!settings.is_news(netns));
            fs::write(RANGE, "40000 40009").unwrap();
            assert_eq!(capacity(&next(&mut settings, netns)), 10);
            Some(netns)
        });
        let Some(netns) = followed else {
            println!("skipped: no privilege to make a network namespace and set it up");
            return;
        };
        assert_eq!(next(&mut settings, netns), [Event::NamespaceGone(netns)]);
        assert!(settings.is_news(netns));
    }

    #[test]
    fn a_namespace_that_is_not_there_is_looked_for_once_and_then_again_later() {
        let mut settings = Settings::new(Vec::new(), true);
        assert!(settings.is_news(1));
        settings.find(1);
        assert!(!settings.is_news(1));
        assert!(settings.inodes().any(|netns| netns == 1));
        std::thread::sleep(LIST);
        assert!(settings.is_news(1));
    }
}
