INSERT INTO orders (customer, placed, state)
VALUES (:customer, strftime('%Y-%m-%dT%H:%M:%SZ', 'now'), 1)
