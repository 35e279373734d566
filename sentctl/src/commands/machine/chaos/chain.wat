;; Says a line every four milliseconds.
  (func (export "_start")
    (call $prepare)
    (loop $again
      (call $next_line)
      (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 16)))
      (call $sleep)
      (br $again)))
