//! The one list of the 46 functions, for whoever registers or dispatches them.

/// Calls the macro `$callback` with every function of `wasi_snapshot_preview1`, in the witx's
/// order, as `name(parameter: type, ...) -> result;` items.
///
/// The types are those of the lowered function (`u32` for wasm's `i32`, `u64` for `i64`). The
/// result is `u32` (the error number) but for `proc_exit`, which has none and is listed with `()`;
/// both are `From<Errno>`, so one closure serves all:
///
/// ```
/// use sentient_wasi::for_each_function;
///
/// macro_rules! names {
///     ($($name:ident($($parameter:ident: $type:ty),*) -> $result:ty;)*) => { [$(stringify!($name)),*] };
/// }
/// let names = for_each_function!(names);
/// assert_eq!(names.len(), 46);
/// assert_eq!(names[0], "args_get");
/// ```
///
/// A dispatcher built with it is in `tests/behaviour/function_table.rs`.
#[macro_export]
macro_rules! for_each_function {
    ($callback:ident) => {
        $callback! {
            args_get(argv: u32, argv_buf: u32) -> u32;
            args_sizes_get(argc: u32, argv_buf_size: u32) -> u32;
            environ_get(environ: u32, environ_buf: u32) -> u32;
            environ_sizes_get(environ_count: u32, environ_buf_size: u32) -> u32;
            clock_res_get(id: u32, resolution: u32) -> u32;
            clock_time_get(id: u32, precision: u64, time: u32) -> u32;
            fd_advise(fd: u32, offset: u64, len: u64, advice: u32) -> u32;
            fd_allocate(fd: u32, offset: u64, len: u64) -> u32;
            fd_close(fd: u32) -> u32;
            fd_datasync(fd: u32) -> u32;
            fd_fdstat_get(fd: u32, stat: u32) -> u32;
            fd_fdstat_set_flags(fd: u32, flags: u32) -> u32;
            fd_fdstat_set_rights(fd: u32, rights_base: u64, rights_inheriting: u64) -> u32;
            fd_filestat_get(fd: u32, stat: u32) -> u32;
            fd_filestat_set_size(fd: u32, size: u64) -> u32;
            fd_filestat_set_times(fd: u32, atim: u64, mtim: u64, fst_flags: u32) -> u32;
            fd_pread(fd: u32, iovs: u32, iovs_len: u32, offset: u64, nread: u32) -> u32;
            fd_prestat_get(fd: u32, prestat: u32) -> u32;
            fd_prestat_dir_name(fd: u32, path: u32, path_len: u32) -> u32;
            fd_pwrite(fd: u32, iovs: u32, iovs_len: u32, offset: u64, nwritten: u32) -> u32;
            fd_read(fd: u32, iovs: u32, iovs_len: u32, nread: u32) -> u32;
            fd_readdir(fd: u32, buf: u32, buf_len: u32, cookie: u64, bufused: u32) -> u32;
            fd_renumber(fd: u32, to: u32) -> u32;
            fd_seek(fd: u32, offset: u64, whence: u32, newoffset: u32) -> u32;
            fd_sync(fd: u32) -> u32;
            fd_tell(fd: u32, newoffset: u32) -> u32;
            fd_write(fd: u32, iovs: u32, iovs_len: u32, nwritten: u32) -> u32;
            path_create_directory(fd: u32, path: u32, path_len: u32) -> u32;
            path_filestat_get(fd: u32, flags: u32, path: u32, path_len: u32, stat: u32) -> u32;
            path_filestat_set_times(fd: u32, flags: u32, path: u32, path_len: u32, atim: u64, mtim: u64, fst_flags: u32) -> u32;
            path_link(old_fd: u32, old_flags: u32, old_path: u32, old_path_len: u32, new_fd: u32, new_path: u32, new_path_len: u32) -> u32;
            path_open(fd: u32, dirflags: u32, path: u32, path_len: u32, oflags: u32, rights_base: u64, rights_inheriting: u64, fdflags: u32, opened_fd: u32) -> u32;
            path_readlink(fd: u32, path: u32, path_len: u32, buf: u32, buf_len: u32, bufused: u32) -> u32;
            path_remove_directory(fd: u32, path: u32, path_len: u32) -> u32;
            path_rename(fd: u32, old_path: u32, old_path_len: u32, new_fd: u32, new_path: u32, new_path_len: u32) -> u32;
            path_symlink(old_path: u32, old_path_len: u32, fd: u32, new_path: u32, new_path_len: u32) -> u32;
            path_unlink_file(fd: u32, path: u32, path_len: u32) -> u32;
            poll_oneoff(subscriptions: u32, events: u32, nsubscriptions: u32, nevents: u32) -> u32;
            proc_exit(rval: u32) -> ();
            proc_raise(sig: u32) -> u32;
            sched_yield() -> u32;
            random_get(buf: u32, buf_len: u32) -> u32;
            sock_accept(fd: u32, flags: u32, opened_fd: u32) -> u32;
            sock_recv(fd: u32, ri_data: u32, ri_data_len: u32, ri_flags: u32, ro_datalen: u32, ro_flags: u32) -> u32;
            sock_send(fd: u32, si_data: u32, si_data_len: u32, si_flags: u32, so_datalen: u32) -> u32;
            sock_shutdown(fd: u32, how: u32) -> u32;
        }
    };
}

/// The interfaces of WASI 0.2 that the runtime builds on this layer, for components: calls `$callback!` with the name of each,
/// without its version, and the path of its bindings.
///
/// ```
/// use sentient_wasi::for_each_interface;
///
/// macro_rules! names {
///     ($($name:literal => $($module:ident)::+;)*) => { [$($name),*] };
/// }
/// assert!(for_each_interface!(names).contains(&"wasi:io/streams"));
/// ```
#[macro_export]
macro_rules! for_each_interface {
    ($callback:ident) => {
        $callback! {
            "wasi:cli/environment" => cli::environment;
            "wasi:cli/exit" => cli::exit;
            "wasi:cli/stdin" => cli::stdin;
            "wasi:cli/stdout" => cli::stdout;
            "wasi:cli/stderr" => cli::stderr;
            "wasi:cli/terminal-input" => cli::terminal_input;
            "wasi:cli/terminal-output" => cli::terminal_output;
            "wasi:cli/terminal-stdin" => cli::terminal_stdin;
            "wasi:cli/terminal-stdout" => cli::terminal_stdout;
            "wasi:cli/terminal-stderr" => cli::terminal_stderr;
            "wasi:clocks/monotonic-clock" => clocks::monotonic_clock;
            "wasi:clocks/wall-clock" => clocks::wall_clock;
            "wasi:filesystem/types" => filesystem::types;
            "wasi:filesystem/preopens" => filesystem::preopens;
            "wasi:io/error" => io::error;
            "wasi:io/poll" => io::poll;
            "wasi:io/streams" => io::streams;
            "wasi:random/random" => random::random;
            "wasi:random/insecure" => random::insecure;
            "wasi:random/insecure-seed" => random::insecure_seed;
            "wasi:sockets/network" => sockets::network;
            "wasi:sockets/instance-network" => sockets::instance_network;
            "wasi:sockets/ip-name-lookup" => sockets::ip_name_lookup;
            "wasi:sockets/tcp" => sockets::tcp;
            "wasi:sockets/tcp-create-socket" => sockets::tcp_create_socket;
            "wasi:sockets/udp" => sockets::udp;
            "wasi:sockets/udp-create-socket" => sockets::udp_create_socket;
        }
    };
}

/// How the names of WASI 0.2's interfaces go on: any version of it will do.
pub const VERSION_2: &str = "@0.2.";

/// The interface that a component exports to be run as a command, without its version, and its function.
pub const COMMAND: (&str, &str) = ("wasi:cli/run", "run");
