-- What is known of a table's producers, and of its entries in the log, belongs to its row: a copy of a table that is registered
-- beside it has the same uuid.

alter table producer rename column table_uuid to table_id;
alter table log_mark rename column table_uuid to table_id;

update producer set table_id = coalesce(
    (select min(id) from tabular where tabular.uuid = producer.table_id and tabular.dropped_ms is null), table_id);
update log_mark set table_id = coalesce(
    (select min(id) from tabular where tabular.uuid = log_mark.table_id and tabular.dropped_ms is null), table_id);
