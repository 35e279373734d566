//! The targets.
//!
//! To add one: write a function of bytes that asserts what must hold, and a corpus of valid inputs, in
//! the module of the crate it is about; then name both in [`TARGETS`].

mod abi;
mod boot;
mod control;
mod crash;
mod devices;
mod disks;
mod images;
mod network;
mod snapshot;
mod vmm;
mod volumes;
mod zk;

/// Something to feed bytes to.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name.
    pub name: &'static str,
    /// What it does, in a line.
    pub about: &'static str,
    /// Takes any bytes, and panics if a promise is broken.
    pub run: fn(&[u8]),
    /// Valid inputs; the same on every machine.
    pub corpus: fn() -> Vec<Vec<u8>>,
    /// Longest input, in bytes.
    pub max_len: usize,
    /// Inputs of its run in the tests: a second or two unoptimised.
    pub short_run: u64,
}

/// All of them, one line each.
macro_rules! targets {
    ($($name:ident: $about:literal, $module:ident :: $run:ident from $corpus:ident, $max_len:expr, $short_run:expr;)*) => {
        /// All targets.
        pub const TARGETS: &[Target] = &[$(Target {
            name: stringify!($name),
            about: $about,
            run: $module::$run,
            corpus: $module::$corpus,
            max_len: $max_len,
            short_run: $short_run,
        }),*];

        /// Calls a macro with the name of every target: one test for each.
        #[macro_export]
        macro_rules! for_each_target {
            ($callback:ident) => { $callback! { $($name)* } };
        }
    };
}

targets! {
    boot_module: "what the guest is booted with", abi::boot_module from boot_modules, 16384, 100_000;
    container_config: "a container's configuration in it", abi::container_config from container_configs, 1024, 100_000;
    permissions: "what a container may do, in it", abi::permissions from permission_entries, 512, 100_000;
    destinations: "where a container may connect to, in it", abi::destinations from destination_entries, 512, 20_000;
    calls: "what is asked of the gateway, and its answers", abi::calls from calls_said, 512, 100_000;
    image_files: "the files of a container's image, in it", abi::image_files from file_entries, 512, 100_000;
    machine_info: "the machine's facts in it", abi::machine_info from machine_infos, 512, 100_000;
    layout: "a kernel's header, and the memory map made for it", abi::layout from layouts, 512, 20_000;
    container_header: "what a container's region begins with", abi::container_header from container_headers, 64, 100_000;
    container_room: "the room that a container asks for", abi::container_room from container_rooms, 64, 100_000;
    container_files: "what is asked and said of its files", abi::container_files from container_files_said, 512, 100_000;
    frame_header: "the header of a stream's frame", abi::frame_header from frame_headers, 16, 100_000;
    loader: "what PVH and Linux loaders hand over", boot::loader from handovers, 4096, 50_000;
    disks: "what disks say, and the tables on them", disks::disks from controllers, 4096, 3_000;
    pci: "functions on PCI, and virtio devices among them", boot::pci from functions, 512, 50_000;
    mmio: "a driver of virtio-mmio and of the entropy device", devices::mmio from noise, 4096, 3_000;
    console: "a driver of the console", devices::console from noise, 4096, 3_000;
    net: "a driver of the network device", devices::net from noise, 4096, 3_000;
    volume_device: "a driver of the volumes' device", devices::volumes from noise, 4096, 3_000;
    gateway: "a guest on the network", network::gateway from conversations, 2048, 2_000;
    gateway_calls: "a guest on the network that wants to be connected", network::calls from calls_made, 2048, 2_000;
    volume_request: "what is asked of a folder of the host", volumes::volume_request from volume_requests, 512, 100_000;
    volumes: "questions about a folder of the host, in any order", volumes::volumes from conversations, 2048, 1_000;
    served_files: "questions about a container's files, in any order", volumes::served from conversations, 2048, 5_000;
    stdio_mux: "frames of streams, cut and blocked anywhere", devices::stdio_mux from noise, 4096, 3_000;
    ports: "a driver of the serial port and the sentinel", devices::ports from noise, 4096, 5_000;
    panic_report: "the record a dying guest leaves", vmm::panic_report from panic_records, 2048, 20_000;
    symbols: "the kernel's names for its addresses", crash::symbols from symbol_tables, 2048, 20_000;
    backtrace: "registers and stack of a guest that failed", crash::backtrace from stacks, 2048, 5_000;
    kernel: "a kernel image with a valid digest", vmm::kernel from patches, 256, 400;
    kernel_file: "a kernel image as it is found", images::kernel_file from kernel_files, 4096, 50_000;
    image_cache: "a compiled image in the cache", images::image_cache from cache_entries, 65_536, 500;
    record: "a snapshot's record, signed", snapshot::record from records, 4096, 300;
    signed_record: "a signed record as it comes", snapshot::signed_record from signed_records, 4096, 3_000;
    stream: "a snapshot's export", snapshot::stream from streams, 32_768, 1_000;
    stream_record: "an export with another record, signed", snapshot::stream_record from records, 4096, 1_000;
    compressed_page: "a page in a pack", snapshot::compressed_page from compressed_pages, 8192, 5_000;
    tree: "tree nodes of any shape, hashed as they should be", snapshot::tree from trees, 1024, 20_000;
    sealed: "a sealed database whose seals fit, or do not", snapshot::sealed from databases, 1024, 150;
    tag: "what people call snapshots", snapshot::tag from tags, 256, 3_000;
    machine_state: "the state of vCPU and devices", vmm::machine_state from machine_states, 16_384, 5_000;
    image_reference: "the name of an image", control::image_reference from image_references, 128, 100_000;
    api_request: "what is asked of a machine's socket", control::api_request from requests, 1024, 20_000;
    fork_packet: "what the processes of a machine and its fork say", control::fork_packet from fork_packets, 512, 20_000;
    fork_letter: "what a fork needs to run", control::fork_letter from fork_letters, 2048, 20_000;
    fork_origin: "what a fork has of the machine it was made from", control::fork_origin from fork_origins, 4096, 20_000;
    zk_contract: "a permissions.zky", zk::contract from contracts, 2048, 3_000;
    zk_record: "a record of a chain, signed", zk::chain_record from chain_records, 512, 3_000;
    zk_proof: "a proof", zk::proof from proofs, 128, 300;
    zk_rollup: "a rollup whose digest fits", zk::rollup from rollups, 4096, 1_000;
    zk_verifying_key: "a verifying key", zk::verifying_key from verifying_keys, 1024, 300;
    zk_zkey: "a ceremony's key, its sections", zk::zkey from zkeys, 2048, 3_000;
    package: "a package of a program", images::package from packages, 32_768, 3_000;
    package_texts: "the texts in a package", images::package_texts from texts, 2048, 5_000;
    registry: "a repository's registry", images::registry from registries, 2048, 5_000;
    log_chain: "the chain of a container's logs", control::log_chain from log_chains, 2048, 300;
    module: "a WebAssembly module", images::module from modules, 65_536, 500;
}

/// The target of a name.
#[must_use]
pub fn find(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}
