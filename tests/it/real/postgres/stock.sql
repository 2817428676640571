-- What is in the shop before: customers, products and orders as the demo's client asks for them.
INSERT INTO schema_revision VALUES (1);
INSERT INTO customers SELECT n, 'Customer ' || n, 'c' || n || '@example.com' FROM generate_series(1, 800) n;
INSERT INTO products SELECT n, 'Thing ' || n, 500 + n * 7, 2000 FROM generate_series(1, 240) n;
INSERT INTO orders (id, customer, placed, status, note)
  SELECT n, 1 + n % 800, timestamptz '2025-01-01 08:00Z' + n * interval '2 hours',
    CASE WHEN n <= 3400 AND n % 13 = 0 THEN 'backorder' WHEN n > 3960 THEN 'new' WHEN n % 20 = 0 THEN 'returned' ELSE 'sent' END,
    CASE WHEN n % 9 = 0 THEN 'Please ring twice.' ELSE '' END
  FROM generate_series(1, 4000) n;
INSERT INTO items SELECT n, line, 1 + (n * line) % 240, 1 + n % 3, 900 FROM generate_series(1, 4000) n, generate_series(1, 1 + n % 4) line;
SELECT setval(pg_get_serial_sequence(t, 'id'), m) FROM (VALUES ('customers', 800), ('products', 240), ('orders', 4000)) v (t, m);
