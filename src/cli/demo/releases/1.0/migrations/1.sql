-- The shop's first schema. Prices are in cents, with VAT.
CREATE TABLE customers (
  id    INTEGER PRIMARY KEY,
  name  TEXT NOT NULL,
  email TEXT NOT NULL UNIQUE,
  city  TEXT NOT NULL
);

CREATE TABLE products (
  id    INTEGER PRIMARY KEY,
  code  TEXT NOT NULL UNIQUE,
  title TEXT NOT NULL,
  price INTEGER NOT NULL CHECK (price > 0),
  stock INTEGER NOT NULL
);

CREATE TABLE orders (
  id       INTEGER PRIMARY KEY,
  customer INTEGER NOT NULL REFERENCES customers (id),
  placed   TEXT NOT NULL,
  status   TEXT NOT NULL DEFAULT 'new' CHECK (status IN ('new', 'paid', 'sent', 'returned', 'backorder')),
  total    INTEGER NOT NULL DEFAULT 0,
  note     TEXT NOT NULL DEFAULT ''
);
CREATE INDEX orders_by_customer ON orders (customer, placed);

CREATE TABLE items (
  order_id INTEGER NOT NULL REFERENCES orders (id) ON DELETE CASCADE,
  line     INTEGER NOT NULL,
  product  INTEGER NOT NULL REFERENCES products (id),
  quantity INTEGER NOT NULL CHECK (quantity > 0),
  price    INTEGER NOT NULL,
  PRIMARY KEY (order_id, line)
) WITHOUT ROWID;
CREATE INDEX items_by_product ON items (product);

CREATE TRIGGER items_are_sold AFTER INSERT ON items BEGIN
  UPDATE orders SET total = total + new.quantity * new.price WHERE id = new.order_id;
  UPDATE products SET stock = stock - new.quantity WHERE id = new.product;
END;

CREATE VIEW sales AS
  SELECT c.city, count(*) AS orders, sum(o.total) AS total
  FROM orders o JOIN customers c ON c.id = o.customer
  WHERE o.status <> 'returned'
  GROUP BY c.city;
