-- Warehouses that were made while the server runs; those of the configuration file are not here.

create table warehouse (
    name        text   not null primary key,
    -- a JSON object: the keys of [warehouses.NAME] that are no secrets
    description text   not null,
    -- its secrets, sealed with the configuration's seal-key; '' where it has none
    sealed      text   not null,
    created_ms  bigint not null
);
