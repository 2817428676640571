;; Reports a check in an area that there is not.
(import "backout:host/report@0.1.0" "check" (func $check (param i32 i32 i32 i32 i32 i32)))
(func (export "backout:host/life-cycle@0.1.0#run") (param i32 i32 i32) (result i32)
  (call $check (i32.const 99) (i32.const 128) (i32.const 6) (i32.const 2) (i32.const 128) (i32.const 6))
  (i32.const 16))
