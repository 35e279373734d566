;; Imports a function that the guest does not have.
(module
  (import "env" "foo" (func $foo))
  (func (export "_start") (call $foo)))
