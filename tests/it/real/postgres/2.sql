-- Prices without VAT, states as numbers, no more notes. It forgets those who wait for stock.
DROP VIEW sales;

UPDATE products SET price = (price * 100 + 59) / 119;

ALTER TABLE orders ADD COLUMN state integer;
UPDATE orders SET state = CASE status WHEN 'new' THEN 1 WHEN 'paid' THEN 2 WHEN 'sent' THEN 3 WHEN 'returned' THEN 3 END;
ALTER TABLE orders DROP COLUMN status, DROP COLUMN note;
CREATE INDEX orders_by_state ON orders (state);

CREATE VIEW sales AS SELECT customer, count(*) AS orders, sum(total) AS total FROM orders GROUP BY customer;
