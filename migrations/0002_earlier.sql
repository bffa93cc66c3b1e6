-- The metadata files that a pointer named before move into the table's own row: a swap of one table is then one statement
-- on one row. Newest first, joined by the unit separator (0x1f); the last may be cut off.

alter table tabular add column earlier text not null default '';

drop table metadata_file;
