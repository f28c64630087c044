CREATE OR REPLACE TEMP VIEW {name} AS
SELECT * FROM read_parquet([{paths}], union_by_name = true, hive_partitioning = false)
