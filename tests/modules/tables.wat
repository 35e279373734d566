;; Grows three tables by turns, 10,000 elements at a time, until none grows any more; exits with how often one did.
(module
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (memory (export "memory") 1)
  (table $a 0 funcref)
  (table $b 0 funcref)
  (table $c 0 funcref)
  (func $grew (param $was i32) (result i32)
    (i32.ne (local.get $was) (i32.const -1)))
  (func (export "_start")
    (local $times i32)
    (local $now i32)
    (loop $again
      (local.set $now
        (i32.add
          (i32.add
            (call $grew (table.grow $a (ref.null func) (i32.const 10000)))
            (call $grew (table.grow $b (ref.null func) (i32.const 10000))))
          (call $grew (table.grow $c (ref.null func) (i32.const 10000)))))
      (local.set $times (i32.add (local.get $times) (local.get $now)))
      (br_if $again (local.get $now)))
    (call $exit (local.get $times))))
