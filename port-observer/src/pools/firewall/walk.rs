//! The way of packets through a base chain and what it jumps to.

use super::{
    expression::Verdict,
    packet::Packets,
    ruleset::{Firewall, Key},
};
use crate::pools::ports::PortSet;

/// How deep chains may lead to chains (`NFT_JUMP_STACK_SIZE`).
const MOST_JUMPS: usize = 16;
/// Rules that are held against packets of all pools of a namespace.
pub(super) const MOST_STEPS: usize = 500_000;

/// What decides about packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Decision<'a> {
    /// A rule, by its number in the chain.
    Rule(&'a Key, usize),
    /// The policy of the base chain.
    Policy,
}

/// What becomes of ports somewhere on the way.
#[derive(Clone, Debug)]
pub(super) struct End<'a> {
    /// Ports of which at least some packets end so, or may.
    pub(super) ports: PortSet,
    /// Of these every packet that gets there does.
    pub(super) full: PortSet,
    pub(super) is_known: bool,
    /// It names ports, and no senders.
    pub(super) is_about_ports: bool,
    /// The sender is told.
    pub(super) is_rejected: bool,
    pub(super) by: Decision<'a>,
}

/// All ends of packets in a base chain.
#[derive(Clone, Debug, Default)]
pub(super) struct Ends<'a> {
    pub(super) accepted: Vec<End<'a>>,
    pub(super) dropped: Vec<End<'a>>,
    /// It was not followed to its end.
    pub(super) is_unknown: bool,
}

/// How certain it is that packets are where they are.
#[derive(Clone, Debug)]
struct Context {
    depth: usize,
    /// Ports of which some packets only got there.
    partial: PortSet,
    is_known: bool,
    names_ports: bool,
    is_narrow: bool,
}

struct Walk<'a, 'p> {
    firewall: &'a Firewall,
    packets: &'p Packets,
    ends: Ends<'a>,
    steps: &'p mut usize,
}

impl<'a> Ends<'a> {
    /// Follows packets to these ports through a base chain. `steps`: how many rules may be held against packets
    /// from here on.
    pub(super) fn of(
        firewall: &'a Firewall,
        base: &'a Key,
        packets: &Packets,
        ports: &PortSet,
        steps: &mut usize,
    ) -> Self {
        let mut walk = Walk { firewall, packets, ends: Self::default(), steps };
        let context = Context {
            depth: 0,
            partial: PortSet::default(),
            is_known: true,
            names_ports: false,
            is_narrow: false,
        };
        let left = walk.chain(base, ports.clone(), &context);
        let drops = firewall.chains.get(base).and_then(|chain| chain.input) == Some(true);
        let mut ends = walk.ends;
        if !left.is_empty() {
            let policy = End {
                full: left.clone(),
                ports: left,
                is_known: true,
                is_about_ports: false,
                is_rejected: false,
                by: Decision::Policy,
            };
            if drops { ends.dropped.push(policy) } else { ends.accepted.push(policy) }
        }
        ends
    }
}

impl<'a> Walk<'a, '_> {
    /// Which ports come out at the end of a chain, of those that get into it.
    fn chain(&mut self, key: &'a Key, entering: PortSet, context: &Context) -> PortSet {
        let Some(chain) = self.firewall.chains.get(key) else { return entering };
        let mut here = entering;
        let mut out = PortSet::default();
        let join = |out: &mut PortSet, more: PortSet| more.ranges().for_each(|one| out.insert(one));
        for (number, rule) in chain.rules.iter().enumerate() {
            if here.is_empty() {
                break;
            }
            let Some(left) = self.steps.checked_sub(1) else {
                self.ends.is_unknown = true;
                return PortSet::default();
            };
            *self.steps = left;
            for (matching, verdict) in self.packets.held_against(rule, key, self.firewall) {
                let hit = here.intersection(&matching.may);
                if hit.is_empty() {
                    continue;
                }
                let all = matching.all.intersection(&hit);
                let is_known = matching.is_known && context.is_known;
                let names_ports = matching.names_ports || context.names_ports;
                let is_narrow = matching.is_narrow || context.is_narrow;
                let mut end = End {
                    full: all.without(&context.partial),
                    ports: hit.clone(),
                    is_known,
                    is_about_ports: names_ports && !is_narrow,
                    is_rejected: verdict == Verdict::Reject,
                    by: Decision::Rule(key, number),
                };
                match verdict {
                    Verdict::Continue => continue,
                    Verdict::Accept => self.ends.accepted.push(end),
                    Verdict::Other => {
                        end.is_known = false;
                        self.ends.accepted.push(end);
                    }
                    Verdict::Drop | Verdict::Reject => self.ends.dropped.push(end),
                    Verdict::Return => join(&mut out, hit),
                    Verdict::Jump(ref to) | Verdict::Goto(ref to) => {
                        let inside = Context {
                            depth: context.depth + 1,
                            partial: join_of(&context.partial, &hit.without(&all)),
                            is_known,
                            names_ports,
                            is_narrow,
                        };
                        let back = self.jump(key, to, hit, &inside);
                        if matches!(verdict, Verdict::Goto(_)) {
                            join(&mut out, back);
                        } else {
                            here = join_of(&here.without(&all), &back);
                            continue;
                        }
                    }
                }
                here = here.without(&all);
            }
        }
        join(&mut out, here);
        out
    }

    fn jump(&mut self, from: &Key, to: &str, ports: PortSet, context: &Context) -> PortSet {
        let key = (from.0, from.1.clone(), to.to_owned());
        match self.firewall.chains.get_key_value(&key) {
            Some((key, _)) if context.depth <= MOST_JUMPS => self.chain(key, ports, context),
            _ => {
                self.ends.is_unknown = true;
                ports
            }
        }
    }
}

fn join_of(one: &PortSet, other: &PortSet) -> PortSet {
    one.ranges().chain(other.ranges()).collect()
}
