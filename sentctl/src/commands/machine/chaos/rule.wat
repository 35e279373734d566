;; What the counters of a campaign have in common: numbers that are bound to all that was counted. Each comes with a hash of the one
;; before, of the number, and of a cell of a table that the numbers go through in turn. Whoever knows the rule can say of every line
;; whether it is right.
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_pwrite" (func $pwrite (param i32 i32 i32 i64 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_pread" (func $pread (param i32 i32 i32 i64 i32) (result i32)))
  (import "wasi_snapshot_preview1" "path_open"
    (func $open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll (param i32 i32 i32 i32) (result i32)))
  ;; 0: the line's address and length; 8: the same of what is read back; 16: how much was written or read; 32: the line; 80: what was
  ;; read back; 128: a subscription; 192: its event; 240: events; 244: a descriptor; 256: texts; 64 KiB: the table, 8192 numbers.
  (memory (export "memory") 2)
  (global $number (mut i64) (i64.const 0))
  (global $hash (mut i64) (i64.const 0))

  (func $digits (param $at i32) (param $value i64)
    (local $left i32) (local $digit i32)
    (local.set $left (i32.const 16))
    (loop $next
      (local.set $left (i32.sub (local.get $left) (i32.const 1)))
      (local.set $digit (i32.wrap_i64 (i64.and (local.get $value) (i64.const 15))))
      (local.set $value (i64.shr_u (local.get $value) (i64.const 4)))
      (i32.store8
        (i32.add (local.get $at) (local.get $left))
        (i32.add
          (local.get $digit)
          (select (i32.const 48) (i32.const 87) (i32.lt_u (local.get $digit) (i32.const 10)))))
      (br_if $next (local.get $left))))

  (func $prepare
    (i32.store (i32.const 0) (i32.const 32))
    (i32.store (i32.const 4) (i32.const 34))
    (i32.store8 (i32.const 48) (i32.const 32))
    (i32.store8 (i32.const 65) (i32.const 10))
    ;; The monotonic clock, four milliseconds from then.
    (i32.store (i32.const 144) (i32.const 1))
    (i64.store (i32.const 152) (i64.const 4000000)))

  (func $sleep
    (drop (call $poll (i32.const 128) (i32.const 192) (i32.const 1) (i32.const 240))))

  ;; The next line: number, hash (both 16 hexadecimal digits), newline.
  (func $next_line
    (local $cell i32)
    (global.set $number (i64.add (global.get $number) (i64.const 1)))
    (local.set $cell
      (i32.add
        (i32.const 65536)
        (i32.shl (i32.and (i32.wrap_i64 (global.get $number)) (i32.const 8191)) (i32.const 3))))
    (global.set $hash
      (i64.add
        (i64.mul
          (i64.rotl
            (i64.xor (i64.xor (global.get $hash) (i64.load (local.get $cell))) (global.get $number))
            (i64.const 13))
          (i64.const 0x9e3779b97f4a7c15))
        (global.get $number)))
    (i64.store (local.get $cell) (global.get $hash))
    (call $digits (i32.const 32) (global.get $number))
    (call $digits (i32.const 49) (global.get $hash)))
