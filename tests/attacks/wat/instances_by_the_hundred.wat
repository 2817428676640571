;; Consists of nine hundred instances, each with a memory.
(component
  (core module $m (memory 1))
  (repeat 900 (core instance (instantiate $m))))
