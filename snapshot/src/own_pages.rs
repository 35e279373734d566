//! What each of several snapshots has for itself, and what they have together.
//!
//! All of them are walked at once, place by place: at a place where a snapshot has the node that a relative
//! of it has, neither has a page of its own, and nothing below is read. So it costs what differs between
//! relatives, each node is read once, and only nodes of one path are in memory, however many snapshots
//! there are. A node that cannot be read leaves unknown what it says something about, and nothing else.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use crate::hash::{Hash, PageHash};
use crate::page::PAGE_SIZE;
use crate::record::Record;
use crate::store::{Session, StoreError};
use crate::tree::levels;
use crate::tree::node::{ARITY, Decoded, pages_per_child, slot};

/// Nodes that are remembered in case they lie at another place, too; 2 KiB each.
const REMEMBERED: usize = 2048;

/// A snapshot among others.
#[derive(Clone, Debug)]
pub struct Relative<'a> {
    /// Its record.
    pub record: &'a Record,
    /// Which of the others it is compared with: parent and children.
    pub relatives: Vec<usize>,
}

/// Pages of each snapshot that no relative of it has at the same address, zero pages left out; all of them if
/// it has no relatives. An error is the first one that keeps it from being known.
#[must_use]
pub fn own_pages(family: &[Relative<'_>], session: &Session) -> Vec<Result<u64, Arc<StoreError>>> {
    let alone = |one: &Relative<'_>| if one.relatives.is_empty() { one.record.used_pages } else { 0 };
    let own = family.iter().map(|one| Ok(alone(one))).collect();
    let mut walk = Walk { family, nodes: Nodes::new(session), own };
    // Snapshots with a region of exactly these pages, and the root of its tree.
    let mut places: BTreeMap<(u64, u64), Vec<Seat>> = BTreeMap::new();
    for (who, one) in family.iter().enumerate() {
        for region in &one.record.regions {
            let seat = Seat { who, node: region.tree_root };
            places.entry((region.base / PAGE_SIZE as u64, region.pages)).or_default().push(seat);
        }
    }
    for ((first, pages), seats) in places {
        walk.region(first, pages, seats);
    }
    walk.own
}

/// Pages of all these snapshots, each content once, zero pages left out.
///
/// # Errors
///
/// [`StoreError::Missing`], [`StoreError::Damaged`] and [`StoreError::Tree`] by the first bad node.
pub fn distinct_pages<'a>(
    records: impl IntoIterator<Item = &'a Record>,
    session: &Session,
) -> Result<u64, StoreError> {
    let mut pages: HashSet<PageHash> = HashSet::new();
    let mut seen: HashSet<Hash> = HashSet::new();
    for record in records {
        let roots = record.regions.iter().filter(|region| !region.tree_root.is_zero());
        let mut left: Vec<(Hash, u8)> =
            roots.map(|region| (region.tree_root, levels(region.pages) - 1)).collect();
        left.retain(|(root, _)| seen.insert(*root));
        while let Some((hash, level)) = left.pop() {
            let node = session.node(hash, level)?;
            if level == 0 {
                pages.extend(node.used());
            } else {
                left.extend(node.used().filter(|child| seen.insert(*child)).map(|child| (child, level - 1)));
            }
        }
    }
    Ok(pages.len() as u64)
}

/// A snapshot at a place: the node it has there.
#[derive(Clone, Copy)]
struct Seat {
    who: usize,
    node: Hash,
}

/// A snapshot that may have pages of its own at a place.
struct Open {
    seat: usize,
    /// Seats of its relatives.
    near: Vec<usize>,
}

/// Nodes, remembered for a while.
struct Nodes<'a> {
    session: &'a Session,
    remembered: HashMap<Hash, Result<Arc<Decoded>, Arc<StoreError>>>,
}

impl<'a> Nodes<'a> {
    fn new(session: &'a Session) -> Self {
        Self { session, remembered: HashMap::new() }
    }

    /// A node; `None` over nothing but zeros.
    fn get(&mut self, hash: Hash, level: u8) -> Result<Option<Arc<Decoded>>, Arc<StoreError>> {
        if hash.is_zero() {
            return Ok(None);
        }
        if self.remembered.len() >= REMEMBERED {
            self.remembered.clear();
        }
        let node = match self.remembered.entry(hash) {
            Entry::Occupied(entry) => entry.get().clone(),
            Entry::Vacant(entry) => {
                let node = self.session.node(hash, level).map(Arc::new).map_err(Arc::new);
                entry.insert(node).clone()
            }
        };
        node.map(Some)
    }

    /// The hash of a snapshot's page.
    fn page(&mut self, record: &Record, gpn: u64) -> Result<PageHash, Arc<StoreError>> {
        let first = |at: usize| record.regions.get(at).map_or(0, |region| region.base / PAGE_SIZE as u64);
        let past = record.regions.partition_point(|region| region.base / PAGE_SIZE as u64 <= gpn);
        let Some(at) = past.checked_sub(1) else { return Ok(PageHash::ZERO) };
        let Some(region) = record.regions.get(at).filter(|region| gpn - first(at) < region.pages) else {
            return Ok(PageHash::ZERO);
        };
        let (mut hash, index) = (region.tree_root, gpn - first(at));
        for level in (0..levels(region.pages)).rev() {
            let node = self.get(hash, level)?;
            hash = child(node.as_deref(), slot(index, level));
        }
        Ok(hash)
    }
}

fn child(node: Option<&Decoded>, at: usize) -> Hash {
    node.and_then(|node| node.children.get(at)).copied().unwrap_or_default()
}

struct Walk<'a> {
    family: &'a [Relative<'a>],
    nodes: Nodes<'a>,
    own: Vec<Result<u64, Arc<StoreError>>>,
}

impl Walk<'_> {
    /// The pages of one region. `seats` ascend by snapshot.
    fn region(&mut self, first: u64, pages: u64, seats: Vec<Seat>) {
        let seat_of = |who: &usize| seats.binary_search_by_key(who, |seat| seat.who).ok();
        let mut open = Vec::new();
        for (at, seat) in seats.iter().enumerate() {
            let relatives = self.family.get(seat.who).map_or(&[][..], |one| &one.relatives);
            if relatives.is_empty() {
                continue;
            }
            open.push(Open { seat: at, near: relatives.iter().filter_map(seat_of).collect() });
        }
        self.place(&seats, open, levels(pages) - 1, first..first.saturating_add(pages));
    }

    /// The pages below nodes of `level` at one place, whose pages are `range`.
    fn place(&mut self, seats: &[Seat], mut open: Vec<Open>, level: u8, range: std::ops::Range<u64>) {
        let node_of = |at: usize| seats.get(at).map_or(Hash::ZERO, |seat| seat.node);
        open.retain(|one| {
            let node = node_of(one.seat);
            !node.is_zero() && one.near.iter().all(|near| node_of(*near) != node)
        });
        // By seat, those that are needed.
        let mut read: Vec<Option<Arc<Decoded>>> = vec![None; seats.len()];
        open.retain(|one| {
            let Some(who) = seats.get(one.seat).map(|seat| seat.who) else { return false };
            for at in std::iter::once(&one.seat).chain(&one.near) {
                let Some(known @ None) = read.get_mut(*at) else { continue };
                match self.nodes.get(node_of(*at), level) {
                    Ok(node) => *known = node,
                    Err(error) => {
                        self.fail(who, error);
                        return false;
                    }
                }
            }
            self.own.get(who).is_some_and(Result::is_ok)
        });
        let child_of = |at: usize, slot: usize| child(read.get(at).and_then(Option::as_deref), slot);
        let step = pages_per_child(level);
        for slot in 0..ARITY {
            let start = range.start.saturating_add(step.saturating_mul(slot as u64));
            if start >= range.end {
                break;
            }
            let differs = |one: &&Open| {
                let here = child_of(one.seat, slot);
                !here.is_zero() && one.near.iter().all(|near| child_of(*near, slot) != here)
            };
            let below: Vec<&Open> = open.iter().filter(differs).collect();
            if below.is_empty() {
                continue;
            }
            if level == 0 {
                for one in below {
                    self.page(seats, one, start, child_of(one.seat, slot));
                }
                continue;
            }
            // Those that are open, and whom they are compared with.
            let mut new_seats: Vec<Seat> = Vec::new();
            let mut moved: Vec<Option<usize>> = vec![None; seats.len()];
            let mut sit = |at: usize| {
                if let Some(there) = moved.get(at).copied().flatten() {
                    return there;
                }
                let who = seats.get(at).map_or(usize::MAX, |seat| seat.who);
                new_seats.push(Seat { who, node: child_of(at, slot) });
                let there = new_seats.len() - 1;
                if let Some(moved) = moved.get_mut(at) {
                    *moved = Some(there);
                }
                there
            };
            let new_open = below
                .iter()
                .map(|one| Open {
                    seat: sit(one.seat),
                    near: one.near.iter().map(|near| sit(*near)).collect(),
                })
                .collect();
            self.place(&new_seats, new_open, level - 1, start..start.saturating_add(step).min(range.end));
        }
    }

    /// A page that no relative with the same region has: one with other regions there may have it.
    fn page(&mut self, seats: &[Seat], one: &Open, gpn: u64, hash: PageHash) {
        let Some(who) = seats.get(one.seat).map(|seat| seat.who) else { return };
        let family = self.family;
        let Some(relative) = family.get(who) else { return };
        let near = |other: &usize| one.near.iter().any(|at| seats.get(*at).is_some_and(|s| s.who == *other));
        for other in relative.relatives.iter().filter(|other| !near(other)) {
            let Some(record) = family.get(*other).map(|other| other.record) else { continue };
            match self.nodes.page(record, gpn) {
                Ok(theirs) if theirs == hash => return,
                Ok(_) => {}
                Err(error) => return self.fail(who, error),
            }
        }
        if let Some(Ok(own)) = self.own.get_mut(who) {
            *own += 1;
        }
    }

    fn fail(&mut self, who: usize, error: Arc<StoreError>) {
        if let Some(own) = self.own.get_mut(who).filter(|own| own.is_ok()) {
            *own = Err(error);
        }
    }
}
