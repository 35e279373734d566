;; Writes a line to a file of a volume every 20 milliseconds, at its place, again and again until all of it is there, and reads it
;; back. Of what is not as it was written it says so.
  (data (i32.const 256) "chain")
  (data (i32.const 272) "read back otherwise\n")
  (func $wrong
    (i32.store (i32.const 0) (i32.const 272))
    (i32.store (i32.const 4) (i32.const 20))
    (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 16)))
    (unreachable))

  (func (export "_start")
    (local $at i64) (local $byte i32)
    (call $prepare)
    (i64.store (i32.const 152) (i64.const 20000000))
    (i32.store (i32.const 8) (i32.const 80))
    (i32.store (i32.const 12) (i32.const 34))
    ;; In the volume, which is descriptor 4 behind the root. Made if it is not there; to read, to seek, to write.
    (loop $open_again
      (call $sleep)
      (br_if $open_again
        (call $open (i32.const 4) (i32.const 0) (i32.const 256) (i32.const 5) (i32.const 1)
          (i64.const 0x66) (i64.const 0) (i32.const 0) (i32.const 244))))
    (loop $again
      (call $next_line)
      (local.set $at (i64.mul (i64.sub (global.get $number) (i64.const 1)) (i64.const 34)))
      (loop $write_again
        (call $sleep)
        (i32.store (i32.const 16) (i32.const 0))
        (br_if $write_again
          (call $pwrite (i32.load (i32.const 244)) (i32.const 0) (i32.const 1) (local.get $at) (i32.const 16)))
        (br_if $write_again (i32.ne (i32.load (i32.const 16)) (i32.const 34))))
      (loop $read_again
        (if (call $pread (i32.load (i32.const 244)) (i32.const 8) (i32.const 1) (local.get $at) (i32.const 16))
          (then (call $sleep) (br $read_again))))
      (if (i32.ne (i32.load (i32.const 16)) (i32.const 34)) (then (call $wrong)))
      (local.set $byte (i32.const 34))
      (loop $compare
        (local.set $byte (i32.sub (local.get $byte) (i32.const 1)))
        (if (i32.ne
              (i32.load8_u (i32.add (i32.const 32) (local.get $byte)))
              (i32.load8_u (i32.add (i32.const 80) (local.get $byte))))
          (then (call $wrong)))
        (br_if $compare (local.get $byte)))
      (br $again)))
