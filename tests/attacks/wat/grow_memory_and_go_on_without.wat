;; Asks for 3 GiB at once, and goes on when it does not get them.
(func (export "backout:host/life-cycle@0.1.0#run") (param i32 i32 i32) (result i32)
  (drop (memory.grow (i32.const 49152)))
  (i32.const 16))
