;; Computes without end when a component deep inside of it is loaded.
(component
  (component $inner
    (core module $m
      (func $start (loop (br 0)))
      (start $start))
    (core instance (instantiate $m)))
  (instance (instantiate $inner)))
