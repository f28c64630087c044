SELECT rows.*
FROM rows
SEMI JOIN ids USING (prediction_id)
WHERE timestamp >= $since
QUALIFY row_number() OVER (
    PARTITION BY prediction_id ORDER BY timestamp DESC, log_id DESC, log_partition DESC, log_row DESC
) = 1
