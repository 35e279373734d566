;; Writes the lines "o000" to "o999" to standard output and "e000" to "e999" to standard error, in turns.
(module
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  ;; The line, and the one piece that it is written as.
  (data (i32.const 0) "?000\n")
  (data (i32.const 16) "\00\00\00\00\05\00\00\00")
  (func $digit (param $at i32) (param $value i32)
    (i32.store8 (local.get $at) (i32.add (i32.const 48) (i32.rem_u (local.get $value) (i32.const 10)))))
  (func $line (param $stream i32) (param $letter i32)
    (i32.store8 (i32.const 0) (local.get $letter))
    (drop (call $fd_write (local.get $stream) (i32.const 16) (i32.const 1) (i32.const 32))))
  (func (export "_start")
    (local $number i32)
    (loop $next
      (call $digit (i32.const 1) (i32.div_u (local.get $number) (i32.const 100)))
      (call $digit (i32.const 2) (i32.div_u (local.get $number) (i32.const 10)))
      (call $digit (i32.const 3) (local.get $number))
      (call $line (i32.const 1) (i32.const 111))
      (call $line (i32.const 2) (i32.const 101))
      (local.set $number (i32.add (local.get $number) (i32.const 1)))
      (br_if $next (i32.lt_u (local.get $number) (i32.const 1000))))))
