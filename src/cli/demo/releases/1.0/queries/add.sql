INSERT INTO items (order_id, line, product, quantity, price)
SELECT :id, :line, p.id, :quantity, p.price FROM products p WHERE p.id = :product
