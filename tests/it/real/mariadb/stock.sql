-- What is in the shop before: customers, products and orders as the demo's client asks for them.
INSERT INTO schema_revision VALUES (1);
INSERT INTO customers SELECT seq, CONCAT('Customer ', seq), CONCAT('c', seq, '@example.com') FROM seq_1_to_800;
INSERT INTO products SELECT seq, CONCAT('Thing ', seq), 500 + seq * 7, 2000 FROM seq_1_to_240;
INSERT INTO orders (id, customer, placed, status, note)
  SELECT seq, 1 + seq % 800, TIMESTAMP('2025-01-01 08:00') + INTERVAL 2 * seq HOUR,
    CASE WHEN seq <= 3400 AND seq % 13 = 0 THEN 'backorder' WHEN seq > 3960 THEN 'new' WHEN seq % 20 = 0 THEN 'returned' ELSE 'sent' END,
    CASE WHEN seq % 9 = 0 THEN 'Please ring twice.' ELSE '' END
  FROM seq_1_to_4000;
INSERT INTO items SELECT n.seq, line.seq, 1 + (n.seq * line.seq) % 240, 1 + n.seq % 3, 900
  FROM seq_1_to_4000 n JOIN seq_1_to_4 line ON line.seq <= 1 + n.seq % 4;
