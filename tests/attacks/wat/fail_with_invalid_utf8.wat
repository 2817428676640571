;; Fails with an error text of bytes that are no text.
(data (i32.const 256) "\01\00\00\00" "\08\00\00\00" "\10\01\00\00" "\04\00\00\00" "\ff\fe\c0\80")
(func (export "backout:host/life-cycle@0.1.0#run") (param i32 i32 i32) (result i32)
  (i32.const 256))
