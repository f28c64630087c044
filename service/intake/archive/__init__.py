"""From the settled part of the log to Parquet files, and all of it read as one table."""
