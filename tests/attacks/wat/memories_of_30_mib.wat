;; Has three memories of 30 MiB in three instances.
(component
  (core module $m (memory 480))
  (repeat 3 (core instance (instantiate $m))))
