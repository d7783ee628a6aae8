//! Network namespaces as people know them: by a name, where one has any, else by its number.

use std::collections::{HashMap, VecDeque};

use super::{escape::escape, figures::short};

/// How many names are remembered, the latest. Whoever may make namespaces may make very many.
const REMEMBERED: usize = 4096;
/// How much is shown of a name. A cgroup's name, or a file's under /run/netns, may have 255 bytes.
const SHOWN: usize = 48;
/// How many names stand beside a number.
const BESIDE: usize = 3;

/// The names of namespaces, as they were last told.
#[derive(Clone, Debug, Default)]
pub struct Names {
    by_netns: HashMap<u32, String>,
    /// How many namespaces have a name.
    bearers: HashMap<String, u32>,
    /// The oldest first.
    order: VecDeque<u32>,
}

impl Names {
    /// Remembers what a namespace is called from now on; without a name it is its number.
    pub fn set(&mut self, netns: u32, names: &[String]) {
        let had = self.forget(netns);
        let Some(name) = shown(names) else {
            if had {
                self.order.retain(|known| *known != netns);
            }
            return;
        };
        *self.bearers.entry(name.clone()).or_default() += 1;
        self.by_netns.insert(netns, name);
        if !had {
            self.order.push_back(netns);
        }
        while self.order.len() > REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.forget(oldest);
        }
    }

    /// Whether it had a name.
    fn forget(&mut self, netns: u32) -> bool {
        let Some(name) = self.by_netns.remove(&netns) else { return false };
        if let Some(bearers) = self.bearers.get_mut(&name) {
            *bearers -= 1;
            if *bearers == 0 {
                self.bearers.remove(&name);
            }
        }
        true
    }

    /// What it is called, ready to be shown.
    pub fn of(&self, netns: u32) -> String {
        self.by_netns.get(&netns).cloned().unwrap_or_else(|| netns.to_string())
    }

    /// What it alone is called: with its number, where others have the same name.
    pub fn unique(&self, netns: u32) -> String {
        let Some(name) = self.by_netns.get(&netns) else { return netns.to_string() };
        match self.bearers.get(name) {
            Some(2..) => format!("{name} {netns}"),
            _ => name.clone(),
        }
    }
}

/// What a namespace of this number and these names is called, ready to be shown.
pub fn name(netns: u32, names: &[String]) -> String {
    shown(names).unwrap_or_else(|| netns.to_string())
}

/// The number of a namespace, and beside it what it is called: where it is to be typed, or told from
/// another of the same name.
pub fn numbered(netns: u32, names: &[String]) -> String {
    let names = listed(names);
    if names.is_empty() { netns.to_string() } else { format!("{netns} ({names})") }
}

/// The names, ready to be shown; empty: there are none.
pub fn listed(names: &[String]) -> String {
    let names = names.iter().take(BESIDE).filter_map(|name| shown_one(name));
    names.collect::<Vec<_>>().join(", ")
}

/// The first name, on one line and not too long.
fn shown(names: &[String]) -> Option<String> {
    names.iter().find_map(|name| shown_one(name))
}

fn shown_one(name: &str) -> Option<String> {
    let name = Some(short(name)).filter(|name| !name.is_empty())?;
    let mut shown: String = name.chars().take(SHOWN).collect();
    if shown.len() < name.len() {
        shown.push('…');
    }
    Some(escape(&shown).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    #[test]
    fn a_namespace_is_its_first_name_or_else_its_number() {
        assert_eq!(name(7, &names(&["blue", "/run/x"])), "blue");
        for none in [&[][..], &[""]] {
            assert_eq!(name(7, &names(none)), "7");
        }
        assert_eq!(numbered(7, &[]), "7");
        assert_eq!(numbered(7, &names(&["blue", "", "/run/x", "y"])), "7 (blue, /run/x)");
        // As the table shows a container.
        assert_eq!(name(7, &names(&[&"0123456789abcdef".repeat(4)])), "0123456789ab");
    }

    #[test]
    fn a_name_is_escaped_and_not_longer_than_a_line_has_room_for() {
        assert_eq!(name(7, &names(&["a\n\u{1b}[2J"])), "a\\n\\x1b[2J");
        let long = name(7, &names(&[&"ä".repeat(255)]));
        assert_eq!(long, format!("{}…", "ä".repeat(SHOWN)));
    }

    #[test]
    fn names_follow_what_is_told_and_the_latest_are_remembered() {
        let mut known = Names::default();
        known.set(1, &names(&["old"]));
        known.set(1, &names(&["new"]));
        assert_eq!((known.of(1), known.of(2)), ("new".to_owned(), "2".to_owned()));
        known.set(1, &[]);
        assert_eq!(known.of(1), "1");
        for netns in 0..10_000 {
            known.set(netns, &names(&["x"]));
        }
        assert_eq!((known.by_netns.len(), known.order.len()), (REMEMBERED, REMEMBERED));
        assert_eq!((known.of(0), known.of(9_999)), ("0".to_owned(), "x".to_owned()));
    }
}
