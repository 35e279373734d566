//! What is proved, as constraints.
//!
//! One function, [`transition::constrain`], says what is to hold. It is run twice, over two kinds of
//! [`wires::Wires`]: [`shape::Shape`] writes down the constraints, once per process; [`assignment`]
//! computes what each wire carries, once per proof. Both number the wires in the same order, because
//! there is one function.
//!
//! Why not `ark-r1cs-std`, and why each constraint has a [`wires::Family`]: docs/decisions/0021.

pub mod assignment;
pub mod permutation;
pub mod shape;
pub mod transition;
pub mod wires;

pub use assignment::Assignment;
pub use shape::Shape;
pub use transition::{Inputs, PRIVATE, PUBLIC, Statement};
pub use wires::{Family, Wires};
