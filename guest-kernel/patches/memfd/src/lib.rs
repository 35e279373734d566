//! Nothing: see ../README.md.
#![no_std]
