(module
  ;; fd_write(stream, list of pieces, how many, where to put the number of bytes written) -> errno
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))

  (memory (export "memory") 1)

  ;; A list of one piece: its address, and its length, which `main` works out.
  (data (i32.const 0) "\10\00\00\00\00\00\00\00")
  (data (i32.const 16) "Hello from {name}!\n\00")

  ;; Bytes from an address to the next zero.
  (func $length (param $text i32) (result i32)
    (local $len i32)
    (block $end
      (loop $next
        (br_if $end (i32.eqz (i32.load8_u (i32.add (local.get $text) (local.get $len)))))
        (local.set $len (i32.add (local.get $len) (i32.const 1)))
        (br $next)))
    (local.get $len))

  (func $main (export "_start")
    (i32.store (i32.const 4) (call $length (i32.const 16)))
    (if (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8))
      (then (call $proc_exit (i32.const 1))))))
