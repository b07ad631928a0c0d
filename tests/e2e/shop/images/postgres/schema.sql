CREATE TABLE products (id integer PRIMARY KEY, name text NOT NULL, price numeric(10, 2) NOT NULL);
INSERT INTO products SELECT n, 'product ' || n, (n * 37 % 10000) / 100.0 FROM generate_series(1, 1000) AS n;

CREATE TABLE ledger (id bigserial PRIMARY KEY, account integer NOT NULL, booked timestamptz NOT NULL DEFAULT now());
