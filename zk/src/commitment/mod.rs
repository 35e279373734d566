//! What a snapshot is to a proof: 64 slots, one number for all of them, and one for the history as well.
//!
//! * [`slot`]: which region is committed to where;
//! * [`memory`]: the slots of a snapshot, and the tree over them;
//! * [`state`]: the chained state;
//! * [`delta`]: which pages changed;
//! * [`poseidon`]: the hash of it all.
//!
//! A snapshot's slots follow from its record alone: no history, no table of assignments. So whoever has
//! the record can compute them, and a region that comes or goes moves no other.

pub mod delta;
pub mod memory;
pub mod poseidon;
pub mod slot;
pub mod state;

pub use delta::Delta;
pub use memory::Memory;
pub use slot::{SLOTS, Slot, SlotSet};
pub use state::{Origin, StateOpening};
