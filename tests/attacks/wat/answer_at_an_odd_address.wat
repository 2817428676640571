;; Says that its answer lies at an address where none can lie.
(func (export "backout:host/life-cycle@0.1.0#run") (param i32 i32 i32) (result i32)
  (i32.const 17))
