;; Has two functions of a million operations each, to keep the compiler busy.
(repeat 2 (func (param i32) (result i32)
  (local.get 0)
  (repeat 1000000 (i32.mul (local.get 0)))))
