;; Has the host write an answer where it has no memory.
(import "backout:host/context@0.1.0" "setting" (func $setting (param i32 i32 i32)))
(memory (export "memory") 1)
(data (i32.const 256) "colour")
(func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
  (i32.const -16))
(func (export "backout:host/life-cycle@0.1.0#run") (param i32 i32 i32) (result i32)
  (call $setting (i32.const 256) (i32.const 6) (i32.const 512))
  (i32.const 16))
