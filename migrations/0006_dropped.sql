-- A table that was dropped without purge is looked for by the name that it had: its last clients still delete its files.

create index tabular_dropped on tabular (warehouse, namespace, name, dropped_ms) where dropped_ms is not null;
