//! Who holds how much, by the names of processes, found in one pass.

use foldhash::HashMap;

use super::Holdings;
use crate::{
    event::Protocol,
    report::{Counts, NamedUse},
};

/// What makes holdings one row. The name is that of the process's number and start: found once for each.
type Holder = (u32, Option<(u32, u64)>);

impl Holdings {
    /// What processes of the same name hold in a namespace, the most first.
    pub fn by_name(&self) -> Vec<NamedUse> {
        let mut by_holder: HashMap<Holder, NamedUse> = HashMap::default();
        for holding in self.iter() {
            let netns = holding.place.netns();
            let process = holding.process();
            let key = (netns, process.map(|process| (process.pid, process.start_time_ns)));
            let counted = by_holder.entry(key).or_insert_with(|| NamedUse {
                netns,
                name: process.map(|process| process.name.clone()),
                pids: process.map(|process| process.pid).into_iter().collect(),
                tcp: Counts::default(),
                udp: 0,
            });
            match holding.place.protocol() {
                Protocol::Tcp => *counted.tcp.of(holding.standing()) += 1,
                Protocol::Udp => counted.udp += 1,
            }
        }
        let mut by_name: HashMap<(u32, Option<String>), NamedUse> = HashMap::default();
        for (_, counted) in by_holder {
            let key = (counted.netns, counted.name.clone());
            match by_name.get_mut(&key) {
                None => drop(by_name.insert(key, counted)),
                Some(so_far) => {
                    so_far.tcp += counted.tcp;
                    so_far.udp += counted.udp;
                    so_far.pids.extend(counted.pids);
                }
            }
        }
        let mut uses: Vec<NamedUse> = by_name.into_values().collect();
        uses.sort_by(|a, b| b.total().cmp(&a.total()).then_with(|| a.order().cmp(&b.order())));
        uses
    }
}
