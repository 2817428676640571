;; Says that its answer lies where it has no memory.
(func (export "backout:host/life-cycle@0.1.0#run") (param i32 i32 i32) (result i32)
  (i32.const 0x7ffffff0))
