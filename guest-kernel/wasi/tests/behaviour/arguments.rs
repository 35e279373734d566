//! Arguments, environment, and what the builder refuses.

use sentient_wasi::{Builder, Errno, Limits, SetupError};

use crate::guest::{DATA, Guest, RESULT, done};

const POINTERS: u32 = 0x9000;

fn program() -> Guest {
    Guest::with(
        Builder::new()
            .arg("prog")
            .args([b"".to_vec(), b"two words".to_vec()])
            .env("HOME", "/")
            .env("EMPTY", ""),
    )
}

#[test]
fn argument_sizes_count_the_zero_bytes() {
    let mut g = program();
    done(g.wasi.args_sizes_get(&mut g.host, &mut g.mem, RESULT, RESULT + 4)).unwrap();
    assert_eq!(g.u32_at(RESULT), 3);
    assert_eq!(g.u32_at(RESULT + 4), 5 + 1 + 10);
}

#[test]
fn arguments_are_zero_terminated_and_pointed_to_in_order() {
    let mut g = program();
    done(g.wasi.args_get(&mut g.host, &mut g.mem, POINTERS, DATA)).unwrap();
    assert_eq!(g.bytes(DATA, 16), b"prog\0\0two words\0");
    assert_eq!(g.u32_at(POINTERS), DATA);
    assert_eq!(g.u32_at(POINTERS + 4), DATA + 5);
    assert_eq!(g.u32_at(POINTERS + 8), DATA + 6);
}

#[test]
fn environment_entries_are_name_equals_value() {
    let mut g = program();
    done(g.wasi.environ_sizes_get(&mut g.host, &mut g.mem, RESULT, RESULT + 4)).unwrap();
    assert_eq!((g.u32_at(RESULT), g.u32_at(RESULT + 4)), (2, 14));
    done(g.wasi.environ_get(&mut g.host, &mut g.mem, POINTERS, DATA)).unwrap();
    assert_eq!(g.bytes(DATA, 14), b"HOME=/\0EMPTY=\0");
    assert_eq!(g.u32_at(POINTERS + 4), DATA + 7);
}

#[test]
fn a_program_without_arguments_gets_none() {
    let mut g = Guest::new();
    done(g.wasi.args_sizes_get(&mut g.host, &mut g.mem, RESULT, RESULT + 4)).unwrap();
    assert_eq!((g.u32_at(RESULT), g.u32_at(RESULT + 4)), (0, 0));
    assert_eq!(done(g.wasi.args_get(&mut g.host, &mut g.mem, POINTERS, DATA)), Ok(()));
}

#[test]
fn an_argument_with_a_zero_byte_is_refused_by_its_place() {
    let error = Builder::new().arg("ok").arg(b"a\0b".to_vec()).build().unwrap_err();
    assert_eq!(error, SetupError::Argument { index: 1 });
    assert_eq!(error.to_string(), "argument 1 holds a zero byte; remove it");
}

#[test]
fn an_environment_name_that_is_empty_or_holds_an_equals_sign_is_refused() {
    for name in ["", "A=B", "A\0"] {
        let error = Builder::new().env("GOOD", "1").env(name, "x").build().unwrap_err();
        assert_eq!(error, SetupError::Environment { index: 1 });
    }
}

#[test]
fn more_than_a_mebibyte_of_arguments_is_refused() {
    let error = Builder::new().arg(vec![b'x'; 1 << 20]).build().unwrap_err();
    assert_eq!(error, SetupError::TooLong { bytes: (1 << 20) + 1, max: 1 << 20 });
}

#[test]
fn initial_files_are_there_with_the_directories_that_lead_to_them() {
    let mut g = Guest::with(
        Builder::new()
            .file("/etc/app/config", b"key = 1")
            .directory("var/log/")
            .symlink("latest", "etc/app")
            .time_ns(42),
    );
    assert_eq!(g.slurp("latest/config").unwrap(), b"key = 1");
    assert_eq!(g.names("."), ["etc", "var", "latest"]);
    assert_eq!(g.names("var"), ["log"]);
    assert_eq!(g.lstat("etc/app/config").unwrap().mtim, 42);
}

#[test]
fn an_initial_file_that_cannot_be_made_is_named_in_the_error() {
    let twice = Builder::new().file("a", b"1").file("/a", b"2").build().unwrap_err();
    assert_eq!(twice, SetupError::Path { path: "/a".into(), errno: Errno::Exist });
    let below = Builder::new().file("a", b"1").file("a/b", b"2").build().unwrap_err();
    assert_eq!(below, SetupError::Path { path: "a/b".into(), errno: Errno::Notdir });
    let limits = Limits { file_bytes: 100_000, ..Limits::default() };
    let big = Builder::new().limits(limits).file("big", &[0; 100_000]).build().unwrap_err();
    assert_eq!(big, SetupError::Path { path: "big".into(), errno: Errno::Nospc });
}

#[test]
fn limits_too_small_for_the_streams_and_the_root_are_refused() {
    let few = Limits { descriptors: 2, ..Limits::default() };
    let error = Builder::new().limits(few).build().unwrap_err();
    assert_eq!(error, SetupError::Limits(Errno::Mfile));
    let no_room = Limits { file_bytes: 10, ..Limits::default() };
    let error = Builder::new().limits(no_room).build().unwrap_err();
    assert_eq!(error, SetupError::Limits(Errno::Nospc));
}

#[test]
fn a_containers_layer_can_be_handed_to_another_thread() {
    // wasmtime's asynchronous stores ask for it.
    fn is_send<T: Send>(_: &T) {}
    is_send(&Guest::new().wasi);
}
