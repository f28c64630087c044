SELECT *
FROM rows
WHERE timestamp >= $since AND timestamp < $until
  AND ($version IS NULL OR model_version = $version)
QUALIFY row_number() OVER (PARTITION BY prediction_id ORDER BY log_id, log_partition, log_row) = 1
ORDER BY timestamp, log_id, log_partition, log_row
