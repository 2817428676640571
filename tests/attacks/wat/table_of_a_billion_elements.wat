;; Declares a table of a billion elements.
(table 1000000000 funcref)
(func (export "backout:host/life-cycle@0.1.0#run") (param i32 i32 i32) (result i32)
  (i32.const 16))
