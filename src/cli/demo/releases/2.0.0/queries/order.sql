SELECT o.id, c.name AS customer, c.city, o.placed, o.state, o.total / 100.0 AS total
FROM orders o JOIN customers c ON c.id = o.customer
WHERE o.id = :id
