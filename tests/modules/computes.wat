;; Computes for some seconds without calling anything, and prints what it came to: sixteen hexadecimal digits, the
;; same every time. Each step depends on every bit of the one before (the logistic map, whose orbits part at once), on the
;; registers that it is in and on memory.
(module
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (func (export "_start")
    (local $step i32) (local $place i32) (local $x f64) (local $sum i64)
    (local.set $x (f64.const 0.3))
    (loop $next
      (local.set $x
        (f64.mul (f64.mul (f64.const 3.99) (local.get $x)) (f64.sub (f64.const 1) (local.get $x))))
      (local.set $place (i32.shl (i32.and (local.get $step) (i32.const 1023)) (i32.const 3)))
      (local.set $sum
        (i64.xor
          (i64.rotl (i64.add (local.get $sum) (i64.load offset=1024 (local.get $place))) (i64.const 7))
          (i64.reinterpret_f64 (local.get $x))))
      (i64.store offset=1024 (local.get $place) (local.get $sum))
      (local.set $step (i32.add (local.get $step) (i32.const 1)))
      (br_if $next (i32.lt_u (local.get $step) (i32.const 1000000000))))
    ;; Sixteen digits from 16 on, and a line's end.
    (local.set $step (i32.const 32))
    (i32.store8 (i32.const 32) (i32.const 10))
    (loop $digit
      (local.set $step (i32.sub (local.get $step) (i32.const 1)))
      (local.set $place (i32.and (i32.wrap_i64 (local.get $sum)) (i32.const 15)))
      (i32.store8 (local.get $step)
        (i32.add (local.get $place)
          (select (i32.const 87) (i32.const 48) (i32.gt_u (local.get $place) (i32.const 9)))))
      (local.set $sum (i64.shr_u (local.get $sum) (i64.const 4)))
      (br_if $digit (i32.gt_u (local.get $step) (i32.const 16))))
    (i32.store (i32.const 0) (i32.const 16))
    (i32.store (i32.const 4) (i32.const 17))
    (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))))
