;; Uses a memory with addresses of 64 bits, and grows it to 256 GiB.
(component
  (core module $m
    (memory i64 1)
    (func $start (drop (memory.grow (i64.const 0x400000))))
    (start $start))
  (core instance (instantiate $m)))
