;; Prints a letter for each of its standard streams: t for a terminal, - for anything else.
(module
  (import "wasi_snapshot_preview1" "fd_fdstat_get" (func $fd_fdstat_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "---\n")
  ;; One piece of output: the four bytes above.
  (data (i32.const 16) "\00\00\00\00\04\00\00\00")
  (func (export "_start")
    (local $stream i32)
    (loop $next
      (drop (call $fd_fdstat_get (local.get $stream) (i32.const 64)))
      ;; File type 2 is a character device; a terminal is one that cannot seek (right 4) or tell (32).
      (if (i32.and
            (i32.eq (i32.load8_u (i32.const 64)) (i32.const 2))
            (i64.eqz (i64.and (i64.load (i32.const 72)) (i64.const 0x24))))
        (then (i32.store8 (local.get $stream) (i32.const 116))))
      (local.set $stream (i32.add (local.get $stream) (i32.const 1)))
      (br_if $next (i32.lt_u (local.get $stream) (i32.const 3))))
    (drop (call $fd_write (i32.const 1) (i32.const 16) (i32.const 1) (i32.const 32)))))
