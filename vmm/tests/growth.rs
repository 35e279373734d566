//! A machine that loads containers and is rid of them for ever does not grow: neither in the guest nor in the host.
//!
//! `SENTIENT_CYCLES=10000 cargo nextest run -p sentient-vmm --test growth --no-capture` is the long run. These tests
//! need KVM, and fail without it.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

mod guest;
mod staying;

use sentient_abi::PAGE_SIZE;
use sentient_abi::exit::ContainerEnd;
use sentient_abi::region::RegionKind;
use sentient_devices::virtio::stdio_mux::ContainerEvent;
use sentient_vmm::ContainerRun;
use sentient_vmm::host;
use sentient_vmm::snapshots::{capture, regions};
use staying::{EXITED, Resident, hello, of_wasm, program};
use std::time::{Duration, Instant};

/// Cycles if nobody says how many.
const CYCLES: u32 = 200;
/// Cycles after which everything that a machine takes once is there.
const WARM: u32 = 40;
/// Pages the guest may touch beyond that: its heap puts things elsewhere now and then.
const GUEST_PAGES: usize = 16;
/// Memory of its own that this process may take beyond that, in KiB.
const HOST_KIB: u64 = 2048;

/// What a machine holds.
#[derive(Clone, Copy, Debug)]
struct Held {
    /// Slots of the region table in use.
    regions: usize,
    /// Pages of the guest's heap that were ever touched.
    heap: usize,
    /// Pages of the whole guest that were.
    pages: usize,
    /// Page tables that are not spare any more.
    tables: usize,
    /// Memory of this process' own, in KiB.
    host_kib: u64,
}

impl Held {
    fn by(resident: &Resident) -> Self {
        let (regions, touched) = resident
            .door
            .stopped(|machine| {
                let regions = regions::read(machine.memory, machine.places.region_table).unwrap();
                (regions, capture::touched(machine).unwrap())
            })
            .unwrap();
        let within = |kind: RegionKind| {
            let region = regions.iter().find(|region| region.kind == kind as u32).unwrap();
            let pages = region.base / PAGE_SIZE..(region.base + region.len) / PAGE_SIZE;
            touched.iter().filter(|page| pages.contains(page)).count()
        };
        Self {
            regions: regions.len(),
            heap: within(RegionKind::Heap),
            pages: touched.len(),
            tables: within(RegionKind::PageTables),
            host_kib: host::residency().anonymous_kib,
        }
    }
}

#[test]
fn containers_that_come_and_go_leave_no_growth() {
    let cycles: u32 =
        std::env::var("SENTIENT_CYCLES").map_or(CYCLES, |count| count.parse().unwrap()).max(WARM);
    let mut resident = Resident::start(128 << 20);
    let ending = hello();
    let trapping = program("resources/containers/faults/faults.wasm", &["div0"]);
    let waiting = program("resources/containers/cat/cat.wasm", &[]);
    let computing = program("resources/containers/faults/faults.wasm", &["loop"]);
    let killed = ContainerEvent::Ended(ContainerEnd::Killed);
    let started = Instant::now();
    let mut warm = None;
    for cycle in 0..WARM + cycles {
        if cycle == WARM {
            warm = Some(Held::by(&resident));
        }
        // Two at a time, so that what is free is in pieces meanwhile.
        resident.load(1, if cycle % 2 == 0 { &waiting } else { &computing });
        let (run, end) = match cycle % 3 {
            0 => (&trapping, ContainerEvent::Ended(ContainerEnd::Trapped)),
            _ => (&ending, EXITED),
        };
        resident.load(0, run);
        assert_eq!(resident.end(0), end, "cycle {cycle}");
        // In its compiled code or in a host function, wherever it is by now.
        resident.handle.kill(1);
        assert_eq!(resident.end(1), killed, "cycle {cycle}");
        // Nobody listens to what is never asked for: it must not pile up in this test itself.
        resident.listen(Duration::ZERO);
    }
    let (warm, after) = (warm.unwrap(), Held::by(&resident));
    println!("{cycles} cycles in {:?}\nwarm  {warm:?}\nafter {after:?}", started.elapsed());
    assert_eq!(after.regions, warm.regions, "regions");
    assert_eq!(after.tables, warm.tables, "page tables");
    assert!(after.heap <= warm.heap + GUEST_PAGES, "heap: {warm:?}, {after:?}");
    assert!(after.pages <= warm.pages + GUEST_PAGES, "guest: {warm:?}, {after:?}");
    assert!(after.host_kib <= warm.host_kib + HOST_KIB, "host: {warm:?}, {after:?}");
}

/// A component that computes for ever. It has so many bytes of constants, and is no other of another number.
fn computing_component(bytes: usize, number: u32) -> ContainerRun {
    let constants = "a".repeat(bytes);
    let text = format!(
        r#"(component
            (core module $program
              (data "{number}{constants}")
              (func (export "run") (result i32) (loop $again (br $again)) (unreachable)))
            (core instance $instance (instantiate $program))
            (func $run (result (result)) (canon lift (core func $instance "run")))
            (instance $command (export "run" (func $run)))
            (export "wasi:cli/run@0.2.0" (instance $command)))"#
    );
    of_wasm(&wat::parse_str(text).unwrap(), &[])
}

/// Waits until container 0 is in its code: what it had before that is given back in another way.
fn until_it_computes(resident: &mut Resident) {
    let asked = Instant::now();
    while resident.ask(&[0])[0].used_ns < 1_000_000 {
        assert!(asked.elapsed() < Duration::from_secs(20), "it does not compute");
    }
}

#[test]
fn components_that_are_killed_in_their_code_give_back_what_they_had() {
    let mut resident = Resident::start(128 << 20);
    let killed = ContainerEvent::Ended(ContainerEnd::Killed);
    let one = computing_component(0, 0);
    let mut warm = None;
    for cycle in 0..WARM * 2 {
        resident.load(0, &one);
        until_it_computes(&mut resident);
        resident.handle.kill(0);
        assert_eq!(resident.end(0), killed);
        if cycle == WARM {
            warm = Some(Held::by(&resident));
        }
    }
    let (warm, now) = (warm.unwrap(), Held::by(&resident));
    assert!(now.regions <= warm.regions && now.heap <= warm.heap + GUEST_PAGES, "{warm:?}, then {now:?}");
    // Images, of which the machine has room for ten or so: those that nobody runs make room for others.
    for number in 0..20 {
        resident.load(0, &computing_component(8 << 20, number));
        until_it_computes(&mut resident);
        resident.handle.kill(0);
        assert_eq!(resident.end(0), killed, "image {number}");
    }
}
