//! Lists that run through the holdings themselves: a holding is in at most one of each kind, is taken
//! out without a search, and costs eight bytes a list.

use slab::Slab;

use super::Holding;

/// The place of a holding in the ledger.
pub type Index = u32;
/// No holding.
pub const NONE: Index = Index::MAX;

/// The neighbours of a holding in one list.
#[derive(Clone, Copy, Debug)]
pub struct Links {
    previous: Index,
    next: Index,
}

impl Default for Links {
    fn default() -> Self {
        Self { previous: NONE, next: NONE }
    }
}

/// Which list of a holding.
pub type Which = fn(&mut Holding) -> &mut Links;

/// Puts a holding first.
pub fn push(slab: &mut Slab<Holding>, first: &mut Index, index: Index, which: Which) {
    let next = std::mem::replace(first, index);
    *which(&mut slab[index as usize]) = Links { previous: NONE, next };
    if next != NONE {
        which(&mut slab[next as usize]).previous = index;
    }
}

/// Takes a holding out.
pub fn unlink(slab: &mut Slab<Holding>, first: &mut Index, index: Index, which: Which) {
    let Links { previous, next } = std::mem::take(which(&mut slab[index as usize]));
    if previous == NONE {
        *first = next;
    } else {
        which(&mut slab[previous as usize]).next = next;
    }
    if next != NONE {
        which(&mut slab[next as usize]).previous = previous;
    }
}

/// The holdings of a list, from the first.
pub fn iter(
    slab: &Slab<Holding>,
    first: Index,
    which: fn(&Holding) -> &Links,
) -> impl Iterator<Item = (Index, &Holding)> {
    let mut next = first;
    std::iter::from_fn(move || {
        let index = next;
        let holding = slab.get(index as usize)?;
        next = which(holding).next;
        Some((index, holding))
    })
}
