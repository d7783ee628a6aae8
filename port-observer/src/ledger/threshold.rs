//! When a space crosses a threshold.

use super::{Holding, Ledger, SpaceKey, lists::Index};
use crate::report::{Body, Level, Report, SpaceKind, used_percent};

/// How far apart looks at a space for bind() are, each of which goes over all its ports.
const BIND_STEP_NS: u64 = 50_000_000;

impl Ledger {
    /// Tells if a space has crossed a threshold.
    pub(super) fn check(&mut self, time_ns: u64, key: SpaceKey, out: &mut Vec<Report>) {
        let found = self.holdings.spaces.find(&key);
        self.check_found(time_ns, key, found, out);
    }

    /// The same where the place of the space is at hand, if it has one.
    pub(super) fn check_found(
        &mut self,
        time_ns: u64,
        key: SpaceKey,
        found: Option<Index>,
        out: &mut Vec<Report>,
    ) {
        if !self.is_worth_a_look(time_ns, &key, found) {
            return;
        }
        let state = found.map(|index| self.holdings.spaces.get(index));
        let Some(fill) = self.holdings.fill(&key, state) else { return };
        let old = state.map_or(Level::Ok, |state| state.level);
        let level = self.options.thresholds().level(used_percent(fill.used, fill.capacity), old);
        if level == old {
            return;
        }
        let mut space = self.holdings.as_filled(&key, state, fill);
        if level < old {
            // It has just become less, whatever the last minute was like.
            space.seconds_to_exhaustion = None;
        }
        let spaces = &mut self.holdings.spaces;
        let index = found.unwrap_or_else(|| spaces.find_or_insert(key));
        spaces.get_mut(index).level = level;
        match (old, level) {
            (Level::Ok, _) => spaces.alarmed.push(key),
            (_, Level::Ok) => spaces.alarmed.retain(|alarmed| *alarmed != key),
            _ => {}
        }
        spaces.forget_if_empty(index);
        out.push(Report { time_ns, body: Body::Threshold { space: Box::new(space), level } });
    }

    /// Whether more than a look at two counters may be due.
    fn is_worth_a_look(&mut self, time_ns: u64, key: &SpaceKey, found: Option<Index>) -> bool {
        let SpaceKind::Bind { .. } = key.kind else { return true };
        let Some(namespace) = self.holdings.namespaces.get(&key.netns) else { return false };
        let Some(capacity) = namespace.capacity() else { return false };
        // What is used for any address is the most that can be for one.
        let used = f64::from(namespace.table(key.protocol).used);
        let is_quiet = found.is_none_or(|i| self.holdings.spaces.get(i).level == Level::Ok);
        if is_quiet && used * 100.0 < self.options.warning * f64::from(capacity) {
            return false;
        }
        let Some(index) = found else { return true };
        let state = self.holdings.spaces.get_mut(index);
        let is_due = time_ns >= state.checked_ns.saturating_add(BIND_STEP_NS);
        if is_due {
            state.checked_ns = time_ns;
        }
        is_due
    }

    /// A release may take a space below a threshold.
    pub(super) fn check_after_release(
        &mut self,
        time_ns: u64,
        gone: &Holding,
        out: &mut Vec<Report>,
    ) {
        if self.holdings.spaces.alarmed.is_empty() {
            return;
        }
        if let Some(key) = gone.space_key() {
            self.check(time_ns, key, out);
        }
    }

    /// Looks at the spaces that are above a threshold.
    pub(super) fn check_alarmed(&mut self, now_ns: u64, out: &mut Vec<Report>) {
        for key in self.holdings.spaces.alarmed.clone() {
            self.check(now_ns, key, out);
        }
    }
}
