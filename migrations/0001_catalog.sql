-- The catalog: which namespaces and tables there are, and which metadata file each table's pointer names.
-- Only text and bigint, so that SQLite and PostgreSQL read it alike: times are milliseconds, ids are text made in Rust,
-- levels of a namespace are joined by the unit separator (0x1f).

create table namespace (
    warehouse  text   not null,
    path       text   not null,
    -- '' at the top, so that listing children is one comparison
    parent     text   not null,
    -- a JSON object of text
    properties text   not null,
    created_ms bigint not null,
    primary key (warehouse, path)
);

create index namespace_children on namespace (warehouse, parent, path);

create table tabular (
    id                text   not null primary key,
    warehouse         text   not null,
    namespace         text   not null,
    name              text   not null,
    -- 'table'; views and functions will live in the same name space
    kind              text   not null,
    uuid              text   not null,
    location          text   not null,
    -- the location in its one normal form with a slash at the end: what contains what is a comparison of beginnings
    location_key      text   not null,
    metadata_location text   not null,
    -- counts the swaps of the pointer; the next metadata file is named after it
    version           bigint not null,
    created_ms        bigint not null,
    -- set when the table was dropped without purge: the row and all files stay
    dropped_ms        bigint
);

-- a name is taken by one live thing only
create unique index tabular_live on tabular (warehouse, namespace, name) where dropped_ms is null;

create index tabular_location on tabular (location_key);

-- the metadata files that the pointer named before, newest kept, to go back to when the current one is damaged
create table metadata_file (
    tabular_id  text   not null,
    version     bigint not null,
    location    text   not null,
    replaced_ms bigint not null,
    primary key (tabular_id, version)
);

-- what is to be deleted from the warehouse; rows enter in the transaction that makes a thing unreachable
create table gc_queue (
    id            text   not null primary key,
    -- 'file': the one object at location; 'purge': everything reachable from the metadata file at location
    kind          text   not null,
    warehouse     text   not null,
    location      text   not null,
    -- the table that was purged
    tabular_id    text,
    -- 1: the data files stay (gc.enabled=false)
    keep_data     bigint not null,
    attempts      bigint not null,
    not_before_ms bigint not null
);

create index gc_queue_due on gc_queue (not_before_ms, id);

-- what engines reported of their scans and commits, the newest of each table
create table metrics_report (
    id          text   not null primary key,
    tabular_id  text   not null,
    received_ms bigint not null,
    report      text   not null
);

create index metrics_report_table on metrics_report (tabular_id, id);
