//! `for_each_function`: that it lists what the witx lists, and that a dispatcher can be built with
//! it.

use sentient_wasi::{Errno, Host, Outcome, Wasi, for_each_function};

use crate::guest::{Guest, RESULT};

/// Every function's name and wasm signature (`i` for i32, `I` for i64, the result after the colon),
/// as wasi-libc and wasmtime have them; written down apart from the table.
const SIGNATURES: &str = "
    args_get ii:i
    args_sizes_get ii:i
    clock_res_get ii:i
    clock_time_get iIi:i
    environ_get ii:i
    environ_sizes_get ii:i
    fd_advise iIIi:i
    fd_allocate iII:i
    fd_close i:i
    fd_datasync i:i
    fd_fdstat_get ii:i
    fd_fdstat_set_flags ii:i
    fd_fdstat_set_rights iII:i
    fd_filestat_get ii:i
    fd_filestat_set_size iI:i
    fd_filestat_set_times iIIi:i
    fd_pread iiiIi:i
    fd_prestat_dir_name iii:i
    fd_prestat_get ii:i
    fd_pwrite iiiIi:i
    fd_read iiii:i
    fd_readdir iiiIi:i
    fd_renumber ii:i
    fd_seek iIii:i
    fd_sync i:i
    fd_tell ii:i
    fd_write iiii:i
    path_create_directory iii:i
    path_filestat_get iiiii:i
    path_filestat_set_times iiiiIIi:i
    path_link iiiiiii:i
    path_open iiiiiIIii:i
    path_readlink iiiiii:i
    path_remove_directory iii:i
    path_rename iiiiii:i
    path_symlink iiiii:i
    path_unlink_file iii:i
    poll_oneoff iiii:i
    proc_exit i:
    proc_raise i:i
    random_get ii:i
    sched_yield :i
    sock_accept iii:i
    sock_recv iiiiii:i
    sock_send iiiii:i
    sock_shutdown ii:i
";

/// A wasm type as a letter.
macro_rules! letter {
    (u32) => {
        "i"
    };
    (u64) => {
        "I"
    };
    (()) => {
        ""
    };
}

macro_rules! signatures {
    ($($name:ident($($parameter:ident: $type:tt),*) -> $result:tt;)*) => {
        vec![$(concat!(stringify!($name), " ", $(letter!($type),)* ":", letter!($result))),*]
    };
}

/// Builds a dispatcher: a name and raw 64-bit parameters to a call.
macro_rules! dispatcher {
    ($($name:ident($($parameter:ident: $type:ty),*) -> $result:ty;)*) => {
        /// Calls a function by its name, with parameters cut to their wasm types; `None` for a name
        /// there is not, or too few parameters.
        pub fn dispatch(
            wasi: &mut Wasi,
            host: &mut dyn Host,
            mem: &mut [u8],
            name: &str,
            parameters: &[u64],
        ) -> Option<Outcome> {
            let mut parameters = parameters.iter().copied();
            match name {
                $(stringify!($name) => {
                    $(let $parameter = parameters.next()? as $type;)*
                    Some(wasi.$name(host, mem $(, $parameter)*))
                })*
                _ => None,
            }
        }

        /// All names, each with those of its parameters.
        pub const FUNCTIONS: &[(&str, &[&str])] =
            &[$((stringify!($name), &[$(stringify!($parameter)),*])),*];
    };
}

for_each_function!(dispatcher);

#[test]
fn the_table_lists_every_function_with_the_witxs_types() {
    let mut listed = for_each_function!(signatures);
    listed.sort_unstable();
    let expected: Vec<&str> = SIGNATURES.lines().map(str::trim).filter(|l| !l.is_empty()).collect();
    assert_eq!(expected.len(), 46);
    assert_eq!(listed, expected);
}

#[test]
fn a_dispatcher_built_with_the_table_reaches_the_functions() {
    let mut g = Guest::new();
    let outcome =
        dispatch(&mut g.wasi, &mut g.host, &mut g.mem, "clock_time_get", &[1, 0, u64::from(RESULT)]);
    assert_eq!(outcome, Some(Outcome::Done(Errno::Success)));
    assert_eq!(g.u64_at(RESULT), 5_000);
    let exit = dispatch(&mut g.wasi, &mut g.host, &mut g.mem, "proc_exit", &[7]);
    assert_eq!(exit, Some(Outcome::Exit(7)));
    assert_eq!(dispatch(&mut g.wasi, &mut g.host, &mut g.mem, "fd_dup", &[1]), None);
    assert_eq!(FUNCTIONS.len(), 46);
}

#[test]
fn an_error_number_is_the_result_of_all_functions_but_one() {
    macro_rules! results {
        ($($name:ident($($rest:tt)*) -> $result:ty;)*) => {
            [$((stringify!($name), size_of_val(&<$result>::from(Errno::Badf)))),*]
        };
    }
    for (name, bytes) in for_each_function!(results) {
        assert_eq!(bytes, if name == "proc_exit" { 0 } else { 4 }, "{name}");
    }
    assert_eq!(u32::from(Errno::Notcapable), 76);
}

#[test]
fn error_numbers_are_those_of_the_witx() {
    // A few along $errno in typenames.witx; the list has no gaps.
    let known = [
        (Errno::Success, 0),
        (Errno::TooBig, 1),
        (Errno::Again, 6),
        (Errno::Badf, 8),
        (Errno::Exist, 20),
        (Errno::Fault, 21),
        (Errno::Fbig, 22),
        (Errno::Ilseq, 25),
        (Errno::Inval, 28),
        (Errno::Isdir, 31),
        (Errno::Loop, 32),
        (Errno::Mfile, 33),
        (Errno::Nametoolong, 37),
        (Errno::Noent, 44),
        (Errno::Nomem, 48),
        (Errno::Nospc, 51),
        (Errno::Notdir, 54),
        (Errno::Notempty, 55),
        (Errno::Notsock, 57),
        (Errno::Notsup, 58),
        (Errno::Overflow, 61),
        (Errno::Perm, 63),
        (Errno::Pipe, 64),
        (Errno::Rofs, 69),
        (Errno::Spipe, 70),
        (Errno::Xdev, 75),
        (Errno::Notcapable, 76),
    ];
    for (errno, number) in known {
        assert_eq!(u32::from(errno), number, "{errno:?}");
    }
}
