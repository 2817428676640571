;; Logs bytes that are no text.
(import "backout:host/log@0.1.0" "info" (func $info (param i32 i32)))
(data (i32.const 256) "\ff\fe\c0\80")
(func (export "backout:host/life-cycle@0.1.0#run") (param i32 i32 i32) (result i32)
  (call $info (i32.const 256) (i32.const 4))
  (i32.const 16))
