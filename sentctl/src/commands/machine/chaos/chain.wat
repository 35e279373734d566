;; A counter that is bound to all it has counted: each number comes with a hash of the one before, of the number, and of a cell of
;; a table that the numbers go through in turn. Whoever knows the rule can say of every line whether it is right.
;;
;; number, hash (both 16 hexadecimal digits), newline; every two milliseconds.
(module
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll (param i32 i32 i32 i32) (result i32)))
  ;; 0: the line's address and length; 16: how much was written; 32: the line; 128: a subscription; 192: its event; 240: events;
  ;; 64 KiB: the table, 8192 numbers.
  (memory (export "memory") 2)

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

  (func (export "_start")
    (local $number i64) (local $hash i64) (local $cell i32)
    (i32.store (i32.const 0) (i32.const 32))
    (i32.store (i32.const 4) (i32.const 34))
    (i32.store8 (i32.const 48) (i32.const 32))
    (i32.store8 (i32.const 65) (i32.const 10))
    ;; The monotonic clock, two milliseconds from then.
    (i32.store (i32.const 144) (i32.const 1))
    (i64.store (i32.const 152) (i64.const 2000000))
    (loop $again
      (local.set $number (i64.add (local.get $number) (i64.const 1)))
      (local.set $cell
        (i32.add
          (i32.const 65536)
          (i32.shl (i32.and (i32.wrap_i64 (local.get $number)) (i32.const 8191)) (i32.const 3))))
      (local.set $hash
        (i64.add
          (i64.mul
            (i64.rotl
              (i64.xor (i64.xor (local.get $hash) (i64.load (local.get $cell))) (local.get $number))
              (i64.const 13))
            (i64.const 0x9e3779b97f4a7c15))
          (local.get $number)))
      (i64.store (local.get $cell) (local.get $hash))
      (call $digits (i32.const 32) (local.get $number))
      (call $digits (i32.const 49) (local.get $hash))
      (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 16)))
      (drop (call $poll (i32.const 128) (i32.const 192) (i32.const 1) (i32.const 240)))
      (br $again))))
