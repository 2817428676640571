INSERT INTO orders (customer, placed, status)
VALUES (:customer, strftime('%Y-%m-%dT%H:%M:%SZ', 'now'), 'new')
