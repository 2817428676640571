;; Fails with a kind of error that there is not.
(data (i32.const 256) "\01\00\00\00" "\c8\00\00\00")
(func (export "backout:host/life-cycle@0.1.0#run") (param i32 i32 i32) (result i32)
  (i32.const 256))
