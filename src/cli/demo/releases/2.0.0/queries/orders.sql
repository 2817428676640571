SELECT o.id, c.name AS customer, o.placed, o.state, o.total / 100.0 AS total
FROM orders o JOIN customers c ON c.id = o.customer
ORDER BY o.id DESC LIMIT :limit OFFSET :offset
