//! The settings of network namespaces, followed. The kernel tells nobody when they change, so they
//! are read again and again.

mod names;

use std::{
    collections::{HashMap, HashSet},
    time::{Duration, Instant},
};

use anyhow::Result;

use crate::{
    event::{Event, NamespaceSettings},
    kernel::{
        clock::Cost,
        descriptors,
        netns::{self, Namespace},
        sysctl::{Files, TooLong},
    },
    process::{Container, OwnerSearch},
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
/// Bytes of long lists of reserved ports that are kept, of all namespaces together: whoever may make
/// namespaces may give each such a list. Short ones always are.
const LONG_BYTES: usize = 8 << 20;
/// As [`MEET`], where only some are observed: another namespace may be given the number of one that is
/// gone, and its events are not asked for.
const MEET_ONLY: Duration = Duration::from_millis(1);

/// The namespaces that are known, with their settings.
#[derive(Debug)]
pub struct Settings {
    /// Only these; empty: all.
    only: Vec<u32>,
    /// Of these, those that are gone. What has the number of one now is another namespace.
    ended: HashSet<u32>,
    /// No other than that of this thread may be looked into.
    own_only: bool,
    known: HashMap<u32, Watched>,
    owners: OwnerSearch,
    /// Named by an event and not found, and when to look again. There are no more than there were
    /// namespaces at a time: the kernel gives their numbers again.
    unfound: HashMap<u32, Instant>,
    next_find: Instant,
    next_read: Instant,
    next_list: Instant,
    /// Before then namespaces are not listed again, whatever is new.
    list_after: Instant,
    /// What the long lists of reserved ports take, and may take.
    long_bytes: usize,
    most_long_bytes: usize,
    /// It was said that there are too few descriptors.
    has_warned: bool,
    /// It was said that a list is too long.
    has_warned_of_list: bool,
}

#[derive(Debug)]
struct Watched {
    namespace: Namespace,
    /// Whose it is, as far as that names it; kept when its processes are gone.
    owner: Option<Container>,
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
            ended: HashSet::new(),
            own_only,
            known: HashMap::new(),
            owners: OwnerSearch::default(),
            unfound: HashMap::new(),
            next_find: Instant::now(),
            next_read: Instant::now(),
            next_list: Instant::now(),
            list_after: Instant::now(),
            long_bytes: 0,
            most_long_bytes: LONG_BYTES,
            has_warned: false,
            has_warned_of_list: false,
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
        let meet = if self.only.is_empty() { MEET } else { MEET_ONLY };
        match self.known.get_mut(&netns) {
            Some(watched) if watched.looked + meet > now => return events,
            Some(watched) => match watched.look(&mut self.long_bytes, self.most_long_bytes) {
                // Its number is that of another by now.
                Ok(Look::Gone) => self.gone(netns, &mut events),
                Ok(Look::Changed) => {
                    events.push(Event::Namespace(Box::new(watched.settings.clone())));
                    return events;
                }
                Ok(Look::Same) => return events,
                Err(error) => {
                    self.note_unread(netns, &error);
                    return events;
                }
            },
            None => {}
        }
        if self.has_ended(netns) {
            return events;
        }
        let is_due = self.unfound.get(&netns).is_none_or(|until| *until <= now);
        // A thread may be in a namespace where no process is.
        if let Some(thread) = thread
            && let Ok(namespace) = netns::resolve(&format!("/proc/{thread}/ns/net"))
            && namespace.inode == netns
        {
            self.add(namespace, &mut events);
            // It may have names.
            self.next_list = self.next_list.min(self.list_after.max(now));
        }
        if !self.known.contains_key(&netns) && is_due && self.next_find <= now {
            let cost = Cost::begin();
            self.list(&mut events);
            self.next_find = now + cost.so_far() * FIND_COST;
        }
        if !self.known.contains_key(&netns) && is_due {
            self.unfound.insert(netns, now + UNFOUND);
        }
        events
    }

    /// Whether this number is of a namespace that was to be observed and is gone: an event that has it
    /// is of another namespace, which was not asked for. A namespace keeps its number until after its
    /// settings are gone (`cleanup_net`, net/core/net_namespace.c), which [`Settings::meet`] looks at.
    pub fn has_ended(&self, netns: u32) -> bool {
        self.ended.contains(&netns)
    }

    /// What is new since the last call, if it is time to look.
    pub fn poll(&mut self) -> Vec<Event> {
        let mut events = Vec::new();
        let now = Instant::now();
        if self.next_read <= now {
            let cost = Cost::begin();
            self.read(&mut events);
            self.next_read = now + READ.max(cost.so_far() * COST);
        }
        let now = Instant::now();
        if self.next_list <= now {
            let cost = Cost::begin();
            self.list(&mut events);
            self.list_after = now + cost.so_far() * COST;
            self.next_list = self.list_after.max(now + LIST);
        }
        events
    }

    /// A namespace that is known.
    pub fn namespace(&self, netns: u32) -> Option<&Namespace> {
        self.known.get(&netns).map(|watched| &watched.namespace)
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
        namespaces.retain(|one| {
            self.only.is_empty() || (self.only.contains(&one.inode) && !self.has_ended(one.inode))
        });
        Ok(namespaces)
    }

    fn read(&mut self, events: &mut Vec<Event>) {
        let (mut gone, mut unread) = (Vec::new(), Vec::new());
        for (&netns, watched) in &mut self.known {
            match watched.look(&mut self.long_bytes, self.most_long_bytes) {
                Ok(Look::Same) => {}
                Ok(Look::Changed) => {
                    events.push(Event::Namespace(Box::new(watched.settings.clone())));
                }
                Ok(Look::Gone) => gone.push(netns),
                Err(error) => unread.push((netns, error)),
            }
        }
        gone.into_iter().for_each(|netns| self.gone(netns, events));
        unread.iter().for_each(|(netns, error)| self.note_unread(*netns, error));
    }

    fn gone(&mut self, netns: u32, events: &mut Vec<Event>) {
        let Some(watched) = self.known.remove(&netns) else { return };
        self.long_bytes -= watched.files.long_bytes();
        events.push(Event::NamespaceGone(netns));
        if self.only.contains(&netns) && self.ended.insert(netns) {
            let names = watched.settings.names.join(", ");
            let names = if names.is_empty() { names } else { format!(" ({names:?})") };
            log::warn!(
                "the network namespace {netns}{names} is gone: nothing more is seen of it; a new one, \
                 of the same name or number, is another: observe it by starting anew"
            );
        }
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
        if self.has_ended(namespace.inode) {
            return;
        }
        let owner = names::owner(&namespace, &mut self.owners);
        if let Some(watched) = self.known.get_mut(&namespace.inode) {
            watched.owner = owner.or(watched.owner.take());
            let names = names::all(&namespace, watched.owner.as_ref());
            if watched.settings.names != names {
                watched.settings.names = names;
                events.push(Event::Namespace(Box::new(watched.settings.clone())));
            }
            watched.namespace = namespace;
            return;
        }
        let netns = namespace.inode;
        match Watched::new(namespace, owner, (&mut self.long_bytes, self.most_long_bytes)) {
            Ok(Some(watched)) => {
                events.push(Event::Namespace(Box::new(watched.settings.clone())));
                self.unfound.remove(&netns);
                self.known.insert(netns, watched);
            }
            Ok(None) => {}
            Err(error) => self.note_unread(netns, &error),
        }
    }

    /// That there are too few descriptors is said once, and how many it takes; so is that a list is too
    /// long. What was read of the namespace before stays.
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
            None if error.is::<TooLong>() && !self.has_warned_of_list => {
                self.has_warned_of_list = true;
                log::warn!(
                    "the settings of the network namespace {netns} can't be read, so how full its \
                     ports are is not known, or told by what was read before: {error:#}; others like \
                     it are not named: shorten net.ipv4.ip_local_reserved_ports"
                );
            }
            _ => log::debug!("the settings of namespace {netns} can't be read: {error:#}"),
        }
    }
}

/// The settings of a namespace now; `None`: it is gone. `long_bytes`: what the long lists of reserved
/// ports take of those that were read before.
///
/// # Errors
/// When it can't be entered, or its settings make no sense or are too long.
pub fn read(
    namespace: &Namespace,
    owners: &mut OwnerSearch,
    long_bytes: &mut usize,
) -> Result<Option<NamespaceSettings>> {
    let owner = names::owner(namespace, owners);
    let watched = Watched::new(namespace.clone(), owner, (long_bytes, LONG_BYTES));
    Ok(watched?.map(|watched| watched.settings))
}

/// What a namespace is called, see [`NamespaceSettings::names`].
pub fn names(namespace: &Namespace, owners: &mut OwnerSearch) -> Vec<String> {
    names::all(namespace, names::owner(namespace, owners).as_ref())
}

/// As [`netns::resolve`], and by the container or unit whose it is.
///
/// # Errors
/// As there.
pub fn resolve(argument: &str) -> Result<Namespace> {
    netns::resolve(argument).or_else(|error| names::owned_by(argument).ok_or(error))
}

/// What became of settings.
enum Look {
    Same,
    Changed,
    Gone,
}

impl Watched {
    /// `long`: what the long lists take that are kept, and of how many at most.
    fn new(
        namespace: Namespace,
        owner: Option<Container>,
        (long_bytes, most_long_bytes): (&mut usize, usize),
    ) -> Result<Option<Self>> {
        let mut files = Files::open(&namespace)?;
        if look(&mut files, long_bytes, most_long_bytes).is_none() {
            return Ok(None);
        }
        let values = files.values().inspect_err(|_| *long_bytes -= files.long_bytes())?;
        let settings = NamespaceSettings {
            netns: namespace.inode,
            names: names::all(&namespace, owner.as_ref()),
            ports: values.ports,
            tw_reuse: values.tw_reuse,
            tw_reuse_delay_ms: values.tw_reuse_delay_ms,
        };
        Ok(Some(Self { namespace, owner, files, looked: Instant::now(), settings }))
    }

    fn look(&mut self, long_bytes: &mut usize, most_long_bytes: usize) -> Result<Look> {
        self.looked = Instant::now();
        match look(&mut self.files, long_bytes, most_long_bytes) {
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

/// Reads the files anew, see [`Files::look`]; a long list that there is no room for is left.
fn look(files: &mut Files, long_bytes: &mut usize, most_long_bytes: usize) -> Option<bool> {
    *long_bytes -= files.long_bytes();
    let has_changed = files.look();
    if files.long_bytes() > most_long_bytes.saturating_sub(*long_bytes) {
        files.leave_list();
    }
    *long_bytes += files.long_bytes();
    has_changed
}

#[cfg(test)]
mod tests;
