-- What makes rows that are pushed count once: how far each producer of a table is, and up to which entry of the server's own
-- log a table's rows are committed. Both change in the transaction that moves the table's pointer.

create table producer (
    table_uuid   text   not null,
    producer     text   not null,
    epoch        bigint not null,
    -- -1: none yet
    sequence     bigint not null,
    offset_token text,
    updated_ms   bigint not null,
    primary key (table_uuid, producer)
);

create index producer_age on producer (table_uuid, updated_ms);

create table log_mark (
    table_uuid text   not null primary key,
    entry      bigint not null
);
