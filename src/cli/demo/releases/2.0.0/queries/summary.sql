SELECT count(*) AS orders, coalesce(sum(total), 0) / 100.0 AS total FROM orders
