;; Checks that 16 MiB of memory are zero, as they must be, and leaves them full of ones.
;; Exits with 0, with 1 where something is not zero, with 2 if memory does not grow.
(module
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (memory (export "memory") 1)
  (func (export "_start") (local $at i32)
    (if (i32.eq (memory.grow (i32.const 255)) (i32.const -1))
      (then (call $exit (i32.const 2))))
    (loop $next
      (if (i64.ne (i64.load (local.get $at)) (i64.const 0))
        (then (call $exit (i32.const 1))))
      (i64.store (local.get $at) (i64.const -1))
      (local.set $at (i32.add (local.get $at) (i32.const 8)))
      (br_if $next (i32.lt_u (local.get $at) (i32.const 16777216))))))
