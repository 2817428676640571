;; Has one function of a million operations, to keep the compiler busy.
(func (export "giant") (param i32) (result i32)
  (local.get 0)
  (repeat 1000000 (i32.mul (local.get 0))))
