-- Functions: their metadata is small and has no files, so it stands here whole.

create table function (
    warehouse  text   not null,
    namespace  text   not null,
    name       text   not null,
    -- FunctionMetadata of the REST specification, as it was put
    metadata   text   not null,
    updated_ms bigint not null,
    primary key (warehouse, namespace, name)
);
