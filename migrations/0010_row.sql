-- What is known of a table's producers, and of its entries in the log, belongs to its row: a copy of a table that is registered
-- beside it has the same uuid. What was known by the uuid is known of every live table that has it.

alter table producer rename column table_uuid to table_id;
alter table log_mark rename column table_uuid to table_id;

insert into producer (table_id, producer, epoch, sequence, offset_token, updated_ms)
    select tabular.id, producer.producer, producer.epoch, producer.sequence, producer.offset_token, producer.updated_ms
    from producer join tabular on tabular.uuid = producer.table_id where tabular.dropped_ms is null;
insert into log_mark (table_id, entry)
    select tabular.id, log_mark.entry
    from log_mark join tabular on tabular.uuid = log_mark.table_id where tabular.dropped_ms is null;

delete from producer where table_id in (select uuid from tabular);
delete from log_mark where table_id in (select uuid from tabular);
