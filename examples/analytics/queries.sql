-- The product's four questions, for DuckDB 1.5:   duckdb < examples/analytics/queries.sql
-- Each asks for days by the column `date`, so that the files of other days are not opened.
INSTALL iceberg;
LOAD iceberg;
SET TimeZone = 'UTC';
ATTACH '' AS floeberg (TYPE iceberg, ENDPOINT 'http://127.0.0.1:8181', AUTHORIZATION_TYPE 'none', ACCESS_DELEGATION_MODE 'none');
USE floeberg.analytics;

-- The last day there is. Where rows come all the time it is current_date.
SET VARIABLE last_day = (SELECT max(date) FROM invocations);

-- 1. The ten functions that were called most in the last seven days, and which part of their calls failed
SELECT function_id, count(*) AS calls, count(*) FILTER (NOT success) AS failed, failed / calls AS error_rate
FROM invocations
WHERE date > getvariable('last_day') - 7
GROUP BY function_id
ORDER BY calls DESC, function_id
LIMIT 10;

-- 2. How many milliseconds 95 of 100 calls took at most, by function and day
SELECT function_id, date, count(*) AS calls, quantile_cont(duration_ms, 0.95) AS p95_ms
FROM invocations
WHERE date > getvariable('last_day') - 7
GROUP BY function_id, date
ORDER BY function_id, date;

-- 3. Cold starts by language, and what they cost: the middle of the calls that were cold and of those that were warm
SELECT language, count(*) AS calls, count(*) FILTER (cold_start) AS cold, cold / calls AS cold_rate,
    median(duration_ms) FILTER (cold_start) AS cold_ms, median(duration_ms) FILTER (NOT cold_start) AS warm_ms
FROM invocations
WHERE date > getvariable('last_day') - 7
GROUP BY language
ORDER BY cold_rate DESC;

-- 4. Who was kept off, hour by hour: how often, and from how many networks (what is left of addresses)
SELECT date, hour(occurred_at) AS hour, count(*) AS limited, count(DISTINCT client_ip) AS networks
FROM rate_limits
WHERE date > getvariable('last_day') - 7
GROUP BY ALL
ORDER BY date, hour;
