;; Gives an answer that is neither a success nor a failure.
(data (i32.const 256) "\07\00\00\00")
(func (export "backout:host/life-cycle@0.1.0#run") (param i32 i32 i32) (result i32)
  (i32.const 256))
