;; Takes memory a page at a time, writes to each, until it is refused one; ends with the MiB it then has.
(module
  (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
  (memory (export "memory") 1)
  (func (export "_start")
    (loop $next
      (i32.store (i32.shl (i32.sub (memory.size) (i32.const 1)) (i32.const 16)) (i32.const 1))
      (br_if $next (i32.ne (memory.grow (i32.const 1)) (i32.const -1))))
    (call $proc_exit (i32.shr_u (memory.size) (i32.const 4)))))
