SELECT rows.*
FROM rows
SEMI JOIN ids USING (prediction_id)
WHERE timestamp >= $since
