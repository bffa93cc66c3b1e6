-- Where tables will be that somebody has staged in a bucket: who stages one writes to it before it is there, also over a
-- restart of the server.

create table staged (
    warehouse text   not null,
    namespace text   not null,
    name      text   not null,
    -- a JSON array: the table's location and those of its data and metadata that lie elsewhere
    locations text   not null,
    staged_ms bigint not null,
    primary key (warehouse, namespace, name)
);

create index staged_age on staged (staged_ms);
