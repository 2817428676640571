;; Has one function of two million operations, to keep the compiler busy.
(func (export "giant") (param i32) (result i32)
  (local.get 0)
  (repeat 2000000 (i32.mul (local.get 0))))
