SELECT *
FROM rows
WHERE timestamp >= $since AND timestamp < $until
ORDER BY timestamp, log_id, log_partition, log_row
