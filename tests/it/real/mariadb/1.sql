-- The shop's first schema. Prices are in cents, with VAT.
CREATE TABLE schema_revision (revision INT NOT NULL);

CREATE TABLE customers (
  id    BIGINT AUTO_INCREMENT PRIMARY KEY,
  name  VARCHAR(100) NOT NULL,
  email VARCHAR(100) NOT NULL UNIQUE
);

CREATE TABLE products (
  id    BIGINT AUTO_INCREMENT PRIMARY KEY,
  title VARCHAR(100) NOT NULL,
  price INT NOT NULL CHECK (price > 0),
  stock BIGINT NOT NULL
);

CREATE TABLE orders (
  id       BIGINT AUTO_INCREMENT PRIMARY KEY,
  customer BIGINT NOT NULL,
  placed   DATETIME NOT NULL,
  status   VARCHAR(10) NOT NULL DEFAULT 'new' CHECK (status IN ('new', 'paid', 'sent', 'returned', 'backorder')),
  total    BIGINT NOT NULL DEFAULT 0,
  note     VARCHAR(200) NOT NULL DEFAULT '',
  KEY orders_by_customer (customer, placed),
  CONSTRAINT orders_have_customers FOREIGN KEY (customer) REFERENCES customers (id)
);

CREATE TABLE items (
  order_id BIGINT NOT NULL,
  line     BIGINT NOT NULL,
  product  BIGINT NOT NULL,
  quantity BIGINT NOT NULL CHECK (quantity > 0),
  price    INT NOT NULL,
  PRIMARY KEY (order_id, line),
  CONSTRAINT items_are_of_orders FOREIGN KEY (order_id) REFERENCES orders (id) ON DELETE CASCADE,
  CONSTRAINT items_are_products FOREIGN KEY (product) REFERENCES products (id)
);

CREATE TRIGGER items_are_sold AFTER INSERT ON items FOR EACH ROW BEGIN
  UPDATE orders SET total = total + new.quantity * new.price WHERE id = new.order_id;
  UPDATE products SET stock = stock - new.quantity WHERE id = new.product;
END;

CREATE VIEW sales AS
  SELECT customer, count(*) AS orders, sum(total) AS total FROM orders WHERE status <> 'returned' GROUP BY customer;
