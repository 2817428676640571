;; Calls the host when its answer has been given, while it clears up.
(import "backout:host/clock@0.1.0" "sleep" (func $sleep (param i32)))
(func (export "backout:host/life-cycle@0.1.0#run") (param i32 i32 i32) (result i32)
  (i32.const 16))
(func (export "cabi_post_backout:host/life-cycle@0.1.0#run") (param i32)
  (call $sleep (i32.const 1000)))
