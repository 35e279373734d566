//! The targets.
//!
//! To add one: write a function of bytes that asserts what must hold, and a corpus of valid inputs, in
//! the module of the crate it is about; then name both in [`TARGETS`].

mod abi;
mod boot;
mod devices;
mod images;
mod vmm;

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
    boot_module: "what the guest is booted with", abi::boot_module from boot_modules, 8192, 100_000;
    container_config: "a container's configuration in it", abi::container_config from container_configs, 1024, 100_000;
    machine_info: "the machine's facts in it", abi::machine_info from machine_infos, 512, 100_000;
    layout: "a kernel's header, and the memory map made for it", abi::layout from layouts, 512, 20_000;
    frame_header: "the header of a stream's frame", abi::frame_header from frame_headers, 16, 100_000;
    loader: "what PVH and Linux loaders hand over", boot::loader from handovers, 4096, 50_000;
    mmio: "a driver of virtio-mmio and of the entropy device", devices::mmio from noise, 4096, 3_000;
    console: "a driver of the console", devices::console from noise, 4096, 3_000;
    stdio_mux: "frames of streams, cut and blocked anywhere", devices::stdio_mux from noise, 4096, 3_000;
    ports: "a driver of the serial port and the sentinel", devices::ports from noise, 4096, 5_000;
    panic_report: "the record a dying guest leaves", vmm::panic_report from panic_records, 2048, 20_000;
    kernel: "a kernel image with a valid digest", vmm::kernel from patches, 256, 400;
    kernel_file: "a kernel image as it is found", images::kernel_file from kernel_files, 4096, 50_000;
    image_cache: "a compiled image in the cache", images::image_cache from cache_entries, 65_536, 500;
    module: "a WebAssembly module", images::module from modules, 65_536, 500;
}

/// The target of a name.
#[must_use]
pub fn find(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}
