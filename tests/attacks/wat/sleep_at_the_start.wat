;; Sleeps without end before it is asked for anything, when it is loaded.
(import "backout:host/clock@0.1.0" "sleep" (func $sleep (param i32)))
(func $start (call $sleep (i32.const -1)))
(start $start)
(func (export "backout:host/life-cycle@0.1.0#run") (param i32 i32 i32) (result i32)
  (i32.const 16))
