//! What host and guest hand each other.

use sentient_abi::boot_module::{
    BootModule, ContainerConfig, ContainerSpec, EntryKind, ModuleBuilder, TABLES_PREPARED, container_flags,
};
use sentient_abi::container_files::{Entry, Kind, MAX_DATA, MAX_REQUEST, Request, Wanted};
use sentient_abi::container_header::{self, ContainerHeader};
use sentient_abi::image_files::{ImageFiles, append};
use sentient_abi::kernel_header::{KernelHeader, MAGIC, MAX_SEGMENTS, Segment};
use sentient_abi::layout::{self, RamRange, ram_ranges};
use sentient_abi::machine_info::{Device, DeviceKind, MAX_DEVICES, MachineInfo, cpu};
use sentient_abi::measure;
use sentient_abi::network::calls::{self, Answer, Call, MAX_ADDRESSES, MAX_ANSWER, Status};
use sentient_abi::network::{Destination, Destinations, Host, MAX_DESTINATIONS};
use sentient_abi::permissions::{FileAccess, Permissions, PermissionsSpec};
use sentient_abi::region::{RegionKind, RegionTable, access};
use sentient_abi::stdio::{FrameHeader, FrameKind, HEADER_LEN, MAX_PAYLOAD, Room};
use sentient_abi::{ABI_VERSION, PAGE_SIZE};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Everything in an accepted module can be reached, and lies in it.
pub fn boot_module(data: &[u8]) {
    let Ok(module) = BootModule::parse(data) else { return };
    for entry in module.entries() {
        let bytes = module.data(&entry);
        assert!(bytes.is_some_and(|bytes| bytes.len() as u64 == entry.len), "{entry:?} was checked");
        match entry.kind {
            EntryKind::Machine => machine_info(bytes.unwrap_or(&[])),
            EntryKind::Container => container_config(bytes.unwrap_or(&[])),
            EntryKind::Permissions => permissions(bytes.unwrap_or(&[])),
            EntryKind::ImageDigest | EntryKind::Faults | EntryKind::Digest => {}
            EntryKind::ImageHash
            | EntryKind::Name
            | EntryKind::Contract
            | EntryKind::Checkpoints
            | EntryKind::Keep => {}
            EntryKind::Seal => assert!(measure::seal(bytes.unwrap_or(&[])).is_none_or(|_| entry.len == 96)),
            EntryKind::Ports => {
                let ports = sentient_abi::network::ports(bytes.unwrap_or(&[]));
                assert!(ports.is_none_or(|mut ports| ports.all(|port| port > 0)), "{entry:?}");
            }
            EntryKind::Mounts => {
                let mounts = sentient_abi::mounts::mounts(bytes.unwrap_or(&[]));
                assert!(
                    mounts.is_none_or(|mut all| all.all(|mount| mount.path.starts_with(b"/"))),
                    "{entry:?}"
                );
            }
            EntryKind::Destinations => destinations(bytes.unwrap_or(&[])),
            EntryKind::Files => image_files(bytes.unwrap_or(&[])),
            EntryKind::Image => assert_eq!(entry.offset % PAGE_SIZE, 0),
        }
    }
    let _ = module.container(0);
    let says_all = measure::steps(&module).all(|(_, digest)| digest.is_some());
    assert_eq!(measure::Chain::expected(&module).is_some(), says_all);
    for code in module.code_ranges() {
        assert!(code.start < code.end, "{code:x?}");
        assert!(
            code.end <= (data.len() as u64).next_multiple_of(PAGE_SIZE),
            "{code:x?} of {} bytes",
            data.len()
        );
    }
}

/// An accepted configuration has as many strings as it says, all of them in it.
pub fn container_config(data: &[u8]) {
    let Some(config) = ContainerConfig::parse(data) else { return };
    let total: usize = config.args().chain(config.env()).map(|string| string.len() + 4).sum();
    assert!(total + 32 <= data.len(), "{total} bytes of strings in {}", data.len());
}

/// Accepted permissions have as many rules as they say, all of them in it.
pub fn permissions(data: &[u8]) {
    let Some(permissions) = Permissions::parse(data) else { return };
    let total: usize = permissions.rules().map(|(_, path)| path.len() + 8).sum();
    assert!(total + 44 <= data.len(), "{total} bytes of rules in {}", data.len());
}

/// Accepted destinations are written as they are read, and allow what each of them says, and what each of them covers.
pub fn destinations(data: &[u8]) {
    let Some(all) = Destinations::parse(data) else { return };
    let read: Vec<Destination<'_>> = all.iter().collect();
    assert!(read.len() <= MAX_DESTINATIONS && read.len() == all.as_text().lines().count());
    for one in &read {
        let written = one.to_string();
        let again = Destination::parse(&written);
        assert!(again.is_ok_and(|again| again.to_string() == written && again.covers(one)), "{written}");
        let port = one.port.unwrap_or(1);
        match one.host {
            Host::Name(name) => {
                assert!(all.allow_name(name), "{written}");
                assert!(
                    !all.allow_address_of(name, METADATA, port) || all.allow_address(METADATA, port),
                    "{written}"
                );
            }
            Host::Network(address, _) => assert!(all.allow_address(address, port), "{written}"),
            Host::Any => {
                assert!(all.allow_address(EXAMPLE, port) && all.allow_name("a.example"), "{written}")
            }
            Host::Below(name) => assert!(all.allow_name(&format!("a.{name}")), "{written}"),
        }
        for other in read.iter().filter(|other| one.covers(other)) {
            let port = other.port.or(one.port).unwrap_or(1);
            match other.host {
                Host::Network(address, _) => {
                    assert!(
                        Destinations::parse(written.as_bytes())
                            .is_some_and(|one| one.allow_address(address, port))
                    );
                }
                Host::Name(name) => {
                    assert!(Destinations::parse(written.as_bytes()).is_some_and(|one| one.allow_name(name)));
                }
                Host::Any | Host::Below(_) => {}
            }
        }
    }
}

/// Where clouds keep secrets: a name that stands for it leads nowhere.
const METADATA: IpAddr = IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254));
/// An address like any other (RFC 5737).
const EXAMPLE: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));

/// An accepted call and an accepted answer are written as they were read.
pub fn calls(data: &[u8]) {
    if let Ok(Some((call, len))) = Call::read(data) {
        assert_eq!(call.encode().as_deref(), data.get(..len), "{call:?}");
    }
    if let Ok(Some((answer, len))) = Answer::read(data) {
        assert!(len <= MAX_ANSWER && answer.addresses().len() <= MAX_ADDRESSES, "{answer:?}");
        assert_eq!(Answer::read(&answer.encode()), Ok(Some((answer, len))), "{answer:?}");
    }
}

/// Accepted files fill their entry.
pub fn image_files(data: &[u8]) {
    let Some(files) = ImageFiles::parse(data) else { return };
    let total: usize = files.iter().map(|(path, contents)| path.len() + contents.len() + 12).sum();
    assert_eq!(total, data.len());
}

/// Accepted facts survive being written and read again.
pub fn machine_info(data: &[u8]) {
    let Some(info) = MachineInfo::parse(data) else { return };
    assert_eq!(MachineInfo::parse(&info.encode()), Some(info));
}

/// A header that is read is what stands there.
pub fn container_header(data: &[u8]) {
    let Some(header) = ContainerHeader::parse(data) else { return };
    let ContainerHeader { magic, life, state, borrowed, input, runs } = header;
    let (start, end) =
        ([magic.to_le_bytes(), life.to_le_bytes()], [state.to_le_bytes(), borrowed.to_le_bytes()]);
    let last = [input.to_le_bytes(), runs.to_le_bytes()];
    assert!(data.starts_with(&[&start.concat()[..], &end.concat(), &last.concat()].concat()));
    assert_eq!(header.is_at_rest(), state == 1);
}

/// Room that is read is the one that was asked for.
pub fn container_room(data: &[u8]) {
    let Some(room) = Room::decode(data) else { return };
    assert_eq!(room.encode(), data);
}

/// What is asked about files is what is read; what is answered is read to its end, or to what is none.
pub fn container_files(data: &[u8]) {
    if let Some(request) = Request::decode(data) {
        assert!(request.path.starts_with(b"/") && data.len() <= MAX_REQUEST, "{request:?}");
        assert_eq!(request.encode(), data);
    }
    let mut rest = data;
    let mut again = Vec::new();
    while let Some(entry) = Entry::take(&mut rest) {
        assert!(entry.append(&mut again) || again.len() + entry.name.len() + 32 > MAX_DATA, "{entry:?}");
    }
    assert!(data.starts_with(&again), "other entries than there are");
}

/// A header that decodes is the one that was encoded.
pub fn frame_header(data: &[u8]) {
    let mut bytes = [0; HEADER_LEN];
    bytes.iter_mut().zip(data).for_each(|(to, from)| *to = *from);
    if let Some(header) = FrameHeader::decode(&bytes) {
        assert!(header.len <= MAX_PAYLOAD);
        assert_eq!(header.encode(), bytes);
    }
}

/// Whatever a kernel's header says, a memory map is made or refused. The first 16 bytes are the RAM and
/// the length of the boot module.
pub fn layout(data: &[u8]) {
    let Some((sizes, header)) = data.split_at_checked(16) else { return };
    let word = |at| sentient_abi::bytes::read_u64(sizes, at).unwrap_or(0);
    let (ram, module_len) = (word(0) % (layout::MAX_RAM + 1), word(8));
    let Some(mut header) = KernelHeader::parse(header) else { return };
    header.magic = MAGIC;
    header.abi_version = ABI_VERSION;
    let Some(module_base) = layout::boot_module_base(ram, module_len) else { return };
    let ram: Vec<RamRange> = ram_ranges(ram).into_iter().filter(|range| range.len > 0).collect();
    let mut table = RegionTable::new();
    if layout::plan(&header, &ram, module_base, module_len, &mut table).is_ok() {
        assert!(table.iter().all(|region| region.end().is_some()), "no region wraps");
        assert!(table.find(RegionKind::BootModule).is_some());
    }
}

pub fn container_configs() -> Vec<Vec<u8>> {
    let words = |words: &[&str]| words.iter().map(|word| word.as_bytes().to_vec()).collect();
    let full = ContainerSpec {
        flags: container_flags::STDIN_TERMINAL | container_flags::INVOKE,
        entry: "main".into(),
        memory_limit: 64 << 20,
        cpu_limit_ns: 2_000_000_000,
        cpu_weight: Some(50),
        args: words(&["hello.wasm", "", "two words"]),
        env: words(&["HOME=/", "EMPTY="]),
        ..ContainerSpec::default()
    };
    let encoded = |spec: &ContainerSpec| spec.encode().map(|container| container.config);
    [ContainerSpec::default(), full].iter().filter_map(encoded).collect()
}

pub fn permission_entries() -> Vec<Vec<u8>> {
    let rules = vec![(FileAccess::Read, b"/".to_vec()), (FileAccess::Write, b"/tmp".to_vec())];
    let some =
        PermissionsSpec { wall_clock_ns: 1_000_000, open_files: 64, rules, ..PermissionsSpec::default() };
    [PermissionsSpec::default(), some].iter().filter_map(PermissionsSpec::encode).collect()
}

pub fn destination_entries() -> Vec<Vec<u8>> {
    [
        "*:443\n*.example.com:*\nlocalhost:80",
        "192.0.2.0/24:80\n[2001:db8::/32]:*\napi.example.com:443\n10.0.0.1:1",
    ]
    .map(|lines| lines.as_bytes().to_vec())
    .to_vec()
}

pub fn calls_said() -> Vec<Vec<u8>> {
    let call = |request, host| Call { request, port: 443, host }.encode();
    let calls =
        [call(calls::Request::Connect, "192.0.2.1"), call(calls::Request::Resolve, "api.example.com")];
    let addresses = [EXAMPLE, IpAddr::V6(Ipv6Addr::LOCALHOST)];
    let answers = [Answer::new(Status::Done, addresses), Answer::new(Status::Refused, [])];
    calls.into_iter().flatten().chain(answers.iter().map(Answer::encode)).collect()
}

pub fn file_entries() -> Vec<Vec<u8>> {
    let mut files = Vec::new();
    let appended = [("etc/motd", "welcome"), ("empty", "")]
        .iter()
        .map(|(path, contents)| append(&mut files, path.as_bytes(), contents.as_bytes()))
        .all(|done| done.is_some());
    if appended { vec![files, Vec::new()] } else { Vec::new() }
}

pub fn machine_infos() -> Vec<Vec<u8>> {
    let mut devices = [None; MAX_DEVICES];
    devices[0] =
        Some(Device { kind: DeviceKind::Console, gsi: 16, base: layout::VIRTIO_MMIO, adopted: true });
    devices[1] = Some(Device {
        kind: DeviceKind::Rng,
        gsi: 17,
        base: layout::VIRTIO_MMIO + PAGE_SIZE,
        adopted: false,
    });
    let info = MachineInfo {
        lapic_timer_hz: 1_000_000_000,
        cpu_features: cpu::X86_64_V2,
        heartbeat_ns: 1_000_000_000,
        devices,
    };
    vec![info.encode().to_vec()]
}

pub fn boot_modules() -> Vec<Vec<u8>> {
    let (configs, infos) = (container_configs(), machine_infos());
    let (permissions, files) = (permission_entries(), file_entries());
    let image = [0xc3; 2 * PAGE_SIZE as usize];
    let build = |flags| {
        let mut builder = ModuleBuilder::new(flags);
        builder.push(EntryKind::Machine, 0, infos.first()?)?;
        for (index, config) in configs.iter().enumerate() {
            builder.push(EntryKind::Container, index as u32, config)?;
        }
        builder.push(EntryKind::Permissions, 0, permissions.last()?)?;
        builder.push(EntryKind::Files, 0, files.first()?)?;
        builder.push_image(0, &image[..PAGE_SIZE as usize], 0..PAGE_SIZE)?;
        builder.into_bytes()
    };
    [0, TABLES_PREPARED].into_iter().filter_map(build).collect()
}

pub fn container_headers() -> Vec<Vec<u8>> {
    let header = |state: u32| {
        let numbers = [&container_header::MAGIC.to_le_bytes()[..], &7u64.to_le_bytes(), &state.to_le_bytes()];
        [&numbers.concat()[..], &[0; 4]].concat()
    };
    vec![header(0), header(1)]
}

pub fn container_rooms() -> Vec<Vec<u8>> {
    let room = |memory, files| Room { memory, files, life: 7 }.encode().to_vec();
    vec![room(1 << 20, 0), room(u64::MAX, u64::MAX)]
}

pub fn container_files_said() -> Vec<Vec<u8>> {
    let wanted = [
        Wanted::Look,
        Wanted::List(3),
        Wanted::Target,
        Wanted::Create,
        Wanted::Write(9, b"bytes"),
        Wanted::Link(b"target"),
        Wanted::Modified(1 << 60),
    ];
    let mut said: Vec<_> =
        wanted.iter().map(|wanted| Request { wanted: *wanted, path: b"/a/b" }.encode()).collect();
    let mut listed = Vec::new();
    for (kind, name) in [(Kind::File, &b"f"[..]), (Kind::Directory, b"directory"), (Kind::Link, b"")] {
        Entry { next: 2, size: 5, modified: 7, kind, name }.append(&mut listed);
    }
    said.push(listed);
    said
}

pub fn frame_headers() -> Vec<Vec<u8>> {
    use FrameKind::{Image, ImageData, Log, Stderr, Stdin, StdinEnd, Stdout, Window};
    let kinds = [Stdout, Stderr, Stdin, StdinEnd, Window, Log, Image, ImageData];
    kinds
        .map(|kind| FrameHeader { kind, container: 1, len: MAX_PAYLOAD, argument: 65_536 }.encode().to_vec())
        .to_vec()
}

pub fn layouts() -> Vec<Vec<u8>> {
    let mut segments = [Segment::NONE; MAX_SEGMENTS];
    let kinds = [
        (RegionKind::NucleusConstants, 0x10_0000, 0),
        (RegionKind::NucleusText, 0x10_2000, access::EXECUTE),
        (RegionKind::RegionTable, 0x10_8000, access::WRITE),
        (RegionKind::RuntimeText, 0x20_0000, access::EXECUTE | access::USER),
    ];
    for (slot, (kind, base, allowed)) in segments.iter_mut().zip(kinds) {
        *slot = Segment { base, len: 0x2000, kind: kind as u32, access: allowed };
    }
    let header = KernelHeader {
        magic: MAGIC,
        abi_version: ABI_VERSION,
        segment_count: 4,
        runtime_entry: 0x20_0000,
        panic_record: 0x10_9000,
        region_table: 0x10_8000,
        linux64_entry: 0x10_2000,
        pvh_entry: 0x10_2040,
        segments,
    };
    let mut bytes = [0; size_of::<KernelHeader>()];
    let written = header.write(&mut bytes);
    debug_assert!(written.is_some(), "the buffer is a header long");
    let with = |ram: u64, module: u64| [&ram.to_le_bytes()[..], &module.to_le_bytes(), &bytes].concat();
    vec![with(128 << 20, 100_000), with(6 << 30, 5 << 20), with(layout::MIN_RAM, 1)]
}
