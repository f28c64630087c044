SELECT rows.*
FROM rows
SEMI JOIN ids USING (prediction_id)
WHERE timestamp >= $since
QUALIFY row_number() OVER (PARTITION BY prediction_id ORDER BY log_id, log_partition, log_row) = 1
