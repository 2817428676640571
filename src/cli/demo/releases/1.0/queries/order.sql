SELECT o.id, c.name AS customer, o.placed, o.status AS state, o.total / 100.0 AS total, o.note
FROM orders o JOIN customers c ON c.id = o.customer
WHERE o.id = :id
