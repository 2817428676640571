SELECT i.line, p.code, p.title, i.quantity, i.price / 100.0 AS price
FROM items i JOIN products p ON p.id = i.product
WHERE i.order_id = :id
ORDER BY i.line
