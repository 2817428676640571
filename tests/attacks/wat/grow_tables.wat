;; Grows three tables to half a million elements each.
(table $a 1 funcref) (table $b 1 funcref) (table $c 1 funcref)
(func (export "backout:host/life-cycle@0.1.0#run") (param i32 i32 i32) (result i32)
  (drop (table.grow $a (ref.null func) (i32.const 500000)))
  (drop (table.grow $b (ref.null func) (i32.const 500000)))
  (drop (table.grow $c (ref.null func) (i32.const 500000)))
  (i32.const 16))
