;; Names a tree and a path by bytes that are no text.
(import "backout:host/files@0.1.0" "read" (func $read (param i32 i32 i32 i32 i32)))
(data (i32.const 256) "app\ed\a0\80")
(func (export "backout:host/life-cycle@0.1.0#run") (param i32 i32 i32) (result i32)
  (call $read (i32.const 256) (i32.const 3) (i32.const 259) (i32.const 3) (i32.const 512))
  (i32.const 16))
