-- The metadata files that a pointer named before stand in the table's own row from now on: a swap of one table is then one
-- statement on one row. Newest first, joined by the unit separator (0x1f); the last may be cut off. What was remembered so
-- far is not taken over: every metadata file names those before it too.

alter table tabular add column earlier text not null default '';

drop table metadata_file;
