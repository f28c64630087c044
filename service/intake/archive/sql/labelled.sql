-- The label join counts by the same order: the newest timestamp wins, then the later place in the log. An outcome has an
-- order of its own: the last label that bears one gives it.
WITH last_labels AS (
    SELECT
        prediction_id,
        label,
        timestamp AS labelled_at,
        last_value(outcome IGNORE NULLS) OVER (
            PARTITION BY prediction_id ORDER BY timestamp, log_id, log_partition, log_row
            ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING
        ) AS outcome
    FROM labels
    QUALIFY row_number() OVER (
        PARTITION BY prediction_id ORDER BY timestamp DESC, log_id DESC, log_partition DESC, log_row DESC
    ) = 1
),
first_copies AS (
    SELECT *
    FROM rows
    WHERE timestamp >= $since AND timestamp < $until
      AND ($version IS NULL OR model_version = $version)
    QUALIFY row_number() OVER (PARTITION BY prediction_id ORDER BY log_id, log_partition, log_row) = 1
)
SELECT first_copies.*, last_labels.label, last_labels.labelled_at, last_labels.outcome
FROM first_copies
JOIN last_labels USING (prediction_id)
ORDER BY first_copies.timestamp, log_id, log_partition, log_row
