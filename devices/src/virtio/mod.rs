//! Virtio devices over memory-mapped registers, after the virtio specification 1.3 (cited as "virtio").
//!
//! A [`MmioTransport`](mmio::MmioTransport) holds the registers, the queues and one
//! [`VirtioDevice`](device::VirtioDevice). The VMM routes register accesses to it, registers one
//! ioeventfd per queue on the notify register (so that most notifications come without an exit of their
//! own), and calls [`notify`](mmio::MmioTransport::notify) when one fires. Devices see a queue as a
//! [`Ring`](ring::Ring) of [`Chain`](ring::Chain)s of volatile slices of guest memory, already checked.

pub mod console;
pub mod device;
pub mod gate;
pub mod mmio;
pub mod net;
pub mod ring;
pub mod rng;
pub mod slices;
pub mod stdio_mux;
pub mod volumes;
