//! The settings of network namespaces, followed. The kernel tells nobody when they change, so they
//! are read again and again.

use std::{
    collections::{HashMap, HashSet},
    time::{Duration, Instant},
};

use anyhow::Result;

use crate::{
    event::{Event, NamespaceSettings},
    kernel::{
        descriptors,
        netns::{self, Namespace},
        sysctl::Files,
    },
};

/// How often the settings are read of namespaces where nothing happens; where something does, they
/// are read before that is told.
const READ: Duration = Duration::from_secs(1);
/// How often new namespaces are looked for, if no event names one.
const LIST: Duration = Duration::from_secs(5);
/// How long one that an event names and that was not found is not looked for again.
const UNFOUND: Duration = Duration::from_secs(1);
/// With very many namespaces less often: either may take one part in so many of the time.
const COST: u32 = 20;
/// The same for namespaces that events name.
const FIND_COST: u32 = 4;
/// How old what is known of a namespace may be when an event names it.
const MEET: Duration = Duration::from_millis(10);
/// How many files of a namespace's settings stay open.
const FILES_EACH: usize = 4;

/// The namespaces that are known, with their settings.
#[derive(Debug)]
pub struct Settings {
    /// Only these; empty: all.
    only: Vec<u32>,
    /// No other than that of this thread may be looked into.
    own_only: bool,
    known: HashMap<u32, Watched>,
    /// Named by an event and not found, and when to look again. There are no more than there were
    /// namespaces at a time: the kernel gives their numbers again.
    unfound: HashMap<u32, Instant>,
    next_find: Instant,
    next_read: Instant,
    next_list: Instant,
    /// It was said that there are too few descriptors.
    has_warned: bool,
}

#[derive(Debug)]
struct Watched {
    namespace: Namespace,
    files: Files,
    /// When they were last read.
    looked: Instant,
    settings: NamespaceSettings,
}

impl Settings {
    /// Knows none yet.
    pub fn new(only: Vec<u32>, own_only: bool) -> Self {
        descriptors::raise();
        Self {
            only,
            own_only,
            known: HashMap::new(),
            unfound: HashMap::new(),
            next_find: Instant::now(),
            next_read: Instant::now(),
            next_list: Instant::now(),
            has_warned: false,
        }
    }

    /// All namespaces that may still be there, found or not.
    pub fn inodes(&self) -> impl Iterator<Item = u32> {
        self.known.keys().chain(self.unfound.keys()).copied()
    }

    /// Of these, those that a scan has not looked into.
    pub fn unseen(&self, looked: &HashSet<u32>) -> Vec<u32> {
        self.inodes().filter(|netns| !looked.contains(netns)).collect()
    }

    /// What is to be told of a namespace that an event names, before the event is handed on.
    /// `thread` is inside of it, if it still runs.
    pub fn meet(&mut self, netns: u32, thread: Option<u32>) -> Vec<Event> {
        let mut events = Vec::new();
        let now = Instant::now();
        match self.known.get_mut(&netns) {
            Some(watched) if watched.looked + MEET > now => return events,
            Some(watched) => match watched.look() {
                // Its number is that of another by now.
                Ok(Look::Gone) => {
                    self.known.remove(&netns);
                    events.push(Event::NamespaceGone(netns));
                }
                Ok(Look::Changed) => {
                    events.push(Event::Namespace(Box::new(watched.settings.clone())));
                    return events;
                }
                Ok(Look::Same) | Err(_) => return events,
            },
            None => {}
        }
        let is_due = self.unfound.get(&netns).is_none_or(|until| *until <= now);
        // A thread may be in a namespace where no process is.
        if let Some(thread) = thread
            && let Ok(namespace) = netns::resolve(&format!("/proc/{thread}/ns/net"))
            && namespace.inode == netns
        {
            self.add(namespace, &mut events);
        }
        if !self.known.contains_key(&netns) && is_due && self.next_find <= now {
            self.list(&mut events);
            self.next_find = now + now.elapsed() * FIND_COST;
        }
        if !self.known.contains_key(&netns) && is_due {
            self.unfound.insert(netns, now + UNFOUND);
        }
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
        let mut namespaces = self.listed()?;
        let listed: HashSet<u32> = namespaces.iter().map(|one| one.inode).collect();
        let others = self.known.values().map(|watched| &watched.namespace);
        namespaces.extend(others.filter(|one| !listed.contains(&one.inode)).cloned());
        Ok(namespaces)
    }

    fn listed(&self) -> Result<Vec<Namespace>> {
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
        let namespaces = match self.listed() {
            Ok(namespaces) => namespaces,
            Err(error) => {
                log::warn!("new network namespaces are not seen: {error:#}");
                return;
            }
        };
        for namespace in namespaces {
            self.add(namespace, events);
        }
    }

    /// A namespace that is there.
    fn add(&mut self, namespace: Namespace, events: &mut Vec<Event>) {
        if let Some(watched) = self.known.get_mut(&namespace.inode) {
            if watched.settings.names != namespace.names {
                watched.settings.names.clone_from(&namespace.names);
                events.push(Event::Namespace(Box::new(watched.settings.clone())));
            }
            watched.namespace = namespace;
            return;
        }
        let netns = namespace.inode;
        match Watched::new(namespace) {
            Ok(Some(watched)) => {
                events.push(Event::Namespace(Box::new(watched.settings.clone())));
                self.unfound.remove(&netns);
                self.known.insert(netns, watched);
            }
            Ok(None) => {}
            Err(error) => self.note_unread(netns, &error),
        }
    }

    /// That there are too few descriptors is said once, and how many it takes.
    fn note_unread(&mut self, netns: u32, error: &anyhow::Error) {
        match descriptors::exhausted(error) {
            Some(reason) if !self.has_warned => {
                self.has_warned = true;
                log::warn!(
                    "the settings of some network namespaces can't be read, so how full their ports \
                     are is not known: {reason}, and each namespace takes {FILES_EACH}; those of {} are \
                     open: raise the limit (`ulimit -n`, LimitNOFILE= in a unit)",
                    self.known.len()
                );
            }
            _ => log::debug!("the settings of namespace {netns} are not known: {error:#}"),
        }
    }
}

/// The settings of a namespace now; `None`: it is gone.
///
/// # Errors
/// When it can't be entered, or its settings make no sense.
pub fn read(namespace: &Namespace) -> Result<Option<NamespaceSettings>> {
    Ok(Watched::new(namespace.clone())?.map(|watched| watched.settings))
}

/// What became of settings.
enum Look {
    Same,
    Changed,
    Gone,
}

impl Watched {
    fn new(namespace: Namespace) -> Result<Option<Self>> {
        let mut files = Files::open(&namespace)?;
        if files.look().is_none() {
            return Ok(None);
        }
        let values = files.values()?;
        let settings = NamespaceSettings {
            netns: namespace.inode,
            names: namespace.names.clone(),
            ports: values.ports,
            tw_reuse: values.tw_reuse,
            tw_reuse_delay_ms: values.tw_reuse_delay_ms,
        };
        Ok(Some(Self { namespace, files, looked: Instant::now(), settings }))
    }

    fn look(&mut self) -> Result<Look> {
        self.looked = Instant::now();
        match self.files.look() {
            None => return Ok(Look::Gone),
            Some(false) => return Ok(Look::Same),
            Some(true) => {}
        }
        let values = self.files.values()?;
        let settings = &mut self.settings;
        settings.ports = values.ports;
        settings.tw_reuse = values.tw_reuse;
        settings.tw_reuse_delay_ms = values.tw_reuse_delay_ms;
        Ok(Look::Changed)
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
            // SAFETY: takes nothing.
            let thread = u32::try_from(unsafe { libc::gettid() }).unwrap();
            assert_eq!(capacity(&told(settings.meet(netns, Some(thread)), netns)), 100);
            assert_eq!(told(settings.meet(netns, Some(thread)), netns), []);
            fs::write(RANGE, "40000 40009").unwrap();
            assert_eq!(capacity(&next(&mut settings, netns)), 10);
            Some(netns)
        });
        let Some(netns) = followed else {
            println!("skipped: no privilege to make a network namespace and set it up");
            return;
        };
        assert_eq!(next(&mut settings, netns), [Event::NamespaceGone(netns)]);
    }

    #[test]
    fn a_namespace_that_is_not_found_is_remembered_as_one_that_may_be_there() {
        let mut settings = Settings::new(Vec::new(), true);
        // The second is not even looked for, so soon after the first.
        for netns in [1, 2] {
            assert_eq!(told(settings.meet(netns, None), netns), []);
        }
        settings.poll();
        let inodes: Vec<u32> = settings.inodes().collect();
        assert!(inodes.contains(&1) && inodes.contains(&2), "{inodes:?}");
    }
}
