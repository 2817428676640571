INSERT INTO items (order_id, line, product, quantity, price)
SELECT :id, :line, p.id, :quantity, (p.price * 119 + 50) / 100 FROM products p WHERE p.id = :product
