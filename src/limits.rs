//! Every number that bounds something, with its reason.
//!
//! Nothing in floeberg grows without one of these. What a user may change is a key of the configuration whose default
//! stands here; the rest protect the server from a mistake and are far above what real use needs.

use std::time::Duration;

/// Levels of a namespace. Real catalogs use one to three; the bound keeps recursion over them shallow.
pub const NAMESPACE_LEVELS_MAX: usize = 32;

/// Bytes of one namespace level or table name, in UTF-8. Longer ones do not fit a file name.
pub const NAME_BYTES_MAX: usize = 255;

/// Bytes of a `/v1` request body. A commit of 10 000 snapshots' worth of updates is under 10 MiB.
pub const CATALOG_BODY_BYTES_MAX: usize = 64 << 20;

/// Bytes of a metrics report. Scan reports of very wide tables stay under 100 kB.
pub const REPORT_BYTES_MAX: usize = 1 << 20;

/// Metrics reports kept per table; older ones go.
pub const REPORTS_PER_TABLE_MAX: i64 = 1_000;

/// Metrics reports waiting to be written; more are only counted. Trino and Spark send one per scan.
pub const REPORTS_QUEUED_MAX: usize = 4_096;

/// Table changes in one transaction.
pub const TRANSACTION_TABLES_MAX: usize = 1_000;

/// Requirements, or updates, of one commit.
pub const COMMIT_PARTS_MAX: usize = 100_000;

/// How often a commit that lost its swap is applied again before the client hears of it.
pub const COMMIT_ATTEMPTS_MAX: usize = 8;

/// Swaps that share one SQL transaction.
pub const SWAPS_PER_TRANSACTION_MAX: usize = 256;

/// Bytes of metadata, raw and parsed together, kept in memory.
pub const METADATA_CACHE_BYTES: u64 = 256 << 20;

/// Idempotency keys that are kept unless the configuration says otherwise: about 1 GB of database.
pub const KEYS_MAX: i64 = 2_000_000;

/// Expired idempotency keys that go in one transaction.
pub const KEYS_DROPPED_AT_ONCE: i64 = 1_000;

/// Idempotency keys that one statement looks for or adds; databases bound the parameters of one.
pub const KEYS_PER_STATEMENT: usize = 500;

/// Characters of a producer's name, of its offset token and of an idempotency key of ingest.
pub const PRODUCER_TEXT_CHARS: usize = 1_000;

/// Producers of one table that are known; those that were silent for longest are forgotten for new ones.
pub const PRODUCERS_PER_TABLE_MAX: i64 = 100_000;

/// New producers of which one has others forgotten: that looks at all of them.
pub const PRODUCERS_PER_LOOK: u32 = 64;

/// Milliseconds between two looks for expired idempotency keys.
pub const KEYS_INTERVAL_MS: u64 = 30_000;

/// Bytes of an answer that is kept under an idempotency key.
pub const KEPT_ANSWER_BYTES_MAX: usize = 256 << 10;

/// Characters of a refusal's message that are kept under an idempotency key.
pub const KEPT_MESSAGE_CHARS: usize = 2_000;

/// Tokens of those who may call; all of them are in memory.
pub const TOKENS_MAX: usize = 10_000;

/// Bytes of a form sent to the token endpoint. An access token in it is under 300.
pub const TOKEN_FORM_BYTES_MAX: usize = 64 << 10;

/// Bytes of one function's metadata, which stands in the database.
pub const FUNCTION_BYTES_MAX: usize = 1 << 20;

/// Bytes of views' metadata, raw and parsed together, kept in memory. A view is a few kilobytes.
pub const VIEW_CACHE_BYTES: u64 = 16 << 20;

/// Bytes, about, of names and their pointers (or absence) kept in memory: some 100 000 tables.
pub const POINTER_CACHE_BYTES: u64 = 64 << 20;

/// Bytes of one metadata file. 100 000 snapshots are about 60 MB.
pub const METADATA_FILE_BYTES_MAX: u64 = 512 << 20;

/// From this many bytes on a body is compressed when the client asks for it.
pub const COMPRESS_FROM_BYTES: usize = 16 << 10;

/// Entries of one page of a listing when the client names no size, and the most it may ask for.
pub const PAGE_SIZE_MAX: usize = 10_000;

/// Depth of a schema's nesting.
pub const SCHEMA_DEPTH_MAX: usize = 64;

/// Columns of a table, nested fields counted. Wider metadata is refused, not truncated.
pub const SCHEMA_FIELDS_MAX: usize = 50_000;

/// Connections served at once; further ones wait in the listener's queue.
pub const CONNECTIONS_MAX: usize = 10_000;

/// Milliseconds a client may take to send the head of a request.
pub const HEADER_READ_MS: u64 = 30_000;

/// Bytes of a request head that are read before it is refused.
pub const HEADER_BYTES_MAX: usize = 64 << 10;

/// Bytes of the listener's queue of connections not yet accepted.
pub const ACCEPT_BACKLOG: u32 = 1_024;

/// Entries of the deletion queue that one round of `gc` takes.
pub const GC_BATCH: i64 = 500;

/// Milliseconds between two looks at the deletion queue when nothing wakes it.
pub const GC_INTERVAL_MS: u64 = 30_000;

/// Rows of the deletion queue that one statement adds; databases bound the parameters of one.
pub const DOOMED_PER_STATEMENT: usize = 500;

/// Connections that read from the database at once.
pub const STORE_READERS: u32 = 4;

/// Milliseconds that a request waits for a connection to the SQLite database.
pub const SQLITE_WAIT_MS: u64 = 30_000;

/// Milliseconds that a request, or a start, waits for a connection to a PostgreSQL database.
pub const POSTGRES_WAIT_MS: u64 = 5_000;

/// File operations of one warehouse under way at once.
pub const LAKE_CONCURRENCY: usize = 64;

/// Characters of the list of earlier metadata files that a table's row holds, to go back to: some twenty, and the row
/// stays within one page of the database.
pub const EARLIER_METADATA_CHARS: i64 = 3_000;

/// Bytes of one manifest or manifest list. Iceberg's writers aim at 8 MiB.
pub const MANIFEST_BYTES_MAX: u64 = 256 << 20;

/// Bytes of one manifest or manifest list when it is decompressed: eight megabytes become some sixty.
pub const MANIFEST_DECODED_BYTES_MAX: u64 = 512 << 20;

/// Manifests whose foreign files deletion remembers.
pub const GC_MEMORY_ENTRIES: u64 = 20_000;

/// Levels of brackets in a scan's filter. Engines write chains of conditions as trees as deep as the chain is long.
pub const FILTER_DEPTH_MAX: usize = 500;

/// Bytes of a scan's filter, which each of its tasks holds: a set of 100 000 UUIDs.
pub const FILTER_BYTES_MAX: usize = 4 << 20;

/// Files that one answer of a scan's plan lists; the rest is in further tasks.
pub const PLAN_FILES_PER_ANSWER: usize = 5_000;

/// Bytes, about, of one answer of a scan's plan: what is left of a large filter stands at every file.
pub const PLAN_BYTES_PER_ANSWER: usize = 16 << 20;

/// Tests that one answer of a scan's plan makes, at least one for each entry it looks at: some tenths of a second.
pub const PLAN_TESTS_PER_ANSWER: usize = 400_000;

/// Pairs of a file and a delete that may apply to it that one answer of a scan's plan compares.
pub const PLAN_DELETES_PER_ANSWER: usize = 200_000;

/// Bytes of decoded manifests that one answer of a scan's plan holds on to, but for the last.
pub const PLAN_HELD_BYTES: usize = 64 << 20;

/// Tasks that one answer of a scan's plan hands out, each of which may hand out as many.
pub const PLAN_TASKS_MAX: usize = 32;

/// Bytes, about, of the tasks that one answer hands out: each holds the whole filter.
pub const PLAN_TASKS_BYTES: usize = 256 << 10;

/// Manifests that are read ahead while a scan is planned.
pub const PLAN_READS_AHEAD: usize = 4;

/// Manifests that are read at once to be merged into one: small ones, of a table that is waited for.
pub const MERGE_READS_AHEAD: usize = 16;

/// Bytes of manifest lists that scan planning keeps in memory.
pub const PLAN_LISTS_BYTES: u64 = 32 << 20;

/// Bytes of decoded manifests that scan planning keeps in memory: some 200 000 files with statistics of ten columns.
pub const MANIFEST_CACHE_BYTES: u64 = 128 << 20;

/// Bytes of the indexes of delete files that scan planning keeps in memory.
pub const DELETE_INDEX_BYTES: u64 = 64 << 20;

/// Row errors that an answer lists; their total is always given.
pub const ROW_ERRORS_LISTED: usize = 100;

/// Bytes after which no more is said of what is wrong with one row that is left out.
pub const REJECTED_MESSAGE_BYTES: usize = 1_000;

/// Columns that the first line of a body of cells may name.
pub const CSV_COLUMNS_MAX: usize = 5_000;

/// Answers to one request and its parts that are read at once: more than there can be of one that is routed.
pub const KEY_PARTS_MAX: i64 = 1_000;

/// Tables that the rows of one body may be for.
pub const ROUTED_TABLES_MAX: usize = 100;

/// Rows that rules are tried on at once.
pub const PREVIEW_ROWS_MAX: usize = 1_000;

/// Rules of one table. Each is followed for each row.
pub const RULES_MAX: usize = 100;

/// Bytes of a table's rules, which stand in its metadata.
pub const RULES_BYTES_MAX: usize = 256 << 10;

/// Levels of nesting up to which rules look into rows. No configuration lets rows be nested deeper (`ingest.nesting`): what is
/// too deep here comes back as it is, and its reader refuses it.
pub const RULE_NESTING_MAX: usize = 256;

/// Characters of a pattern, and of what is put in the place of what it finds.
pub const RULE_PATTERN_CHARS_MAX: usize = 1_000;

/// Bytes of a compiled pattern, and of what it remembers while it searches. A few classes of letters take 100 kB.
pub const RULE_PATTERN_BYTES_MAX: usize = 1 << 20;

/// Bytes that rules may add to a row beyond its own size once more: rules that feed on one another would fill the memory.
pub const RULE_GROWTH_BYTES: usize = 1 << 20;

/// Tables' rules that are kept as they were understood.
pub const RULES_KEPT: u64 = 1_000;

/// Changes of a table's columns that are asked for at once.
pub const SCHEMA_CHANGES_MAX: usize = 100;

/// Rows of one request that may be left out. A body of which so many do not fit is not what its sender takes it for.
pub const REJECTED_ROWS_MAX: usize = 100_000;

/// Days for which rejected rows are kept, where no table says.
pub const REJECTED_DAYS: i64 = 30;

/// Milliseconds between two passes over the tables of rejected rows.
pub const REJECTED_INTERVAL_MS: i64 = 3_600_000;

/// Bytes of manifests that a pass writes again in one commit, but for the last: some 100 000 files of rejected rows.
pub const REJECTED_MANIFESTS_BYTES: i64 = 64 << 20;

/// Snapshots that a table has whose rows are pushed, where it does not say.
pub const SNAPSHOTS_MAX: i64 = 500;

/// Snapshots beside those that led to the present one up to which old ones are taken away: each is looked through.
pub const SNAPSHOTS_BESIDE_MAX: usize = 64;

/// How often a table's growth is tried again that another change of its schema came before.
pub const GROWTH_ATTEMPTS_MAX: usize = 64;

/// Columns, nested ones counted, up to which rows make a table grow that says nothing else: a guard against keys that are
/// data.
pub const INGEST_COLUMNS_MAX: usize = 1_000;

/// Bytes of a data file that goes up in the same round as the commit; larger ones go up before.
pub const PUT_WITH_COMMIT_BYTES_MAX: usize = 8 << 20;

/// Bytes of a commit's data files that are held to go up in its round; more go up before.
pub const FILES_HELD_BYTES: usize = 32 << 20;

/// Bytes of data files that go up while others are made, but for the last of them.
pub const FILES_GOING_UP_BYTES: usize = 64 << 20;

/// Bytes, about, of files' entries that ingest keeps in memory until their manifests are merged.
pub const ADDED_FILES_BYTES: u64 = 16 << 20;

/// Bytes, about, of manifest lists that ingest keeps in memory.
pub const MANIFEST_LISTS_BYTES: u64 = 64 << 20;

/// Data files that one commit adds: each is one partition's, in memory until it is put.
pub const FILES_PER_COMMIT_MAX: usize = 10_000;

/// How often rows are split anew because the partition spec they were split by was removed meanwhile.
pub const SPLITS_MAX: usize = 3;

/// Of the memory for rows under way, how much one table may take while others of its requests are under way too.
pub const TABLE_SHARE_PERCENT: usize = 50;

/// Of the memory for rows under way, how much may be taken before rows are no longer kept waiting for others.
pub const MEMORY_TIGHT_PERCENT: usize = 70;

/// Schemas of which is kept what is the same for all rows: some kilobytes each.
pub const SHAPES_KEPT: u64 = 1_000;

/// Bytes of a body whose rows wait as text.
pub const WAITS_AS_TEXT_BYTES: usize = 4 << 10;

/// Bytes of a Parquet file's footer: what is built of it takes up to two hundred times as much.
pub const PARQUET_FOOTER_BYTES_MAX: usize = 4 << 20;

/// Readers of a schema's rows that are kept.
pub const READERS_KEPT: usize = 2;

/// Bytes that each of them looks at before it is thrown away with their values.
pub const LOOKED_AT_BYTES_MAX: usize = 64 << 10;

/// Tables that metrics name; what is counted of others is counted together.
pub const METRIC_TABLES_MAX: usize = 1_000;

/// Tables of which the last error of a commit is remembered.
pub const TABLE_ERRORS_KEPT: usize = 10_000;

/// Milliseconds until acknowledged rows that could not be committed are tried again; each time twice as many.
pub const COMMIT_PAUSE_FIRST_MS: u64 = 100;

/// The longest of these pauses.
pub const COMMIT_PAUSE_MAX: Duration = Duration::from_secs(10);

/// Bytes of a file of the log, but for its last entry.
pub const LOG_FILE_BYTES: u64 = 64 << 20;

/// Bytes of all files of the log beyond which rows for it are refused.
pub const LOG_BYTES_MAX: u64 = 4 << 30;

/// Requests that wait for the log at once, and that one sync makes durable.
pub const LOG_WAITING_MAX: usize = 16_384;

/// Tables of which it is remembered that their properties were complained of.
pub const COMPLAINTS_KEPT: u64 = 100_000;

/// Bytes of `/v1` request bodies under way together.
pub const CATALOG_BODIES_BYTES_MAX: usize = 256 << 20;

/// Bytes of rows that one snapshot takes, but for those of a single request: columns of text count to 2 GiB.
pub const GROUP_BYTES_MAX: usize = 1 << 30;

/// Rows of requests that become one entry of the log: no more partitions than one commit may write.
pub const LOG_ENTRY_ROWS: usize = FILES_PER_COMMIT_MAX;

/// Bytes of them.
pub const LOG_ENTRY_BYTES: usize = 64 << 20;

/// For how long commits of a table may fail until no more of its rows are acknowledged before they are committed.
pub const COMMITS_MAY_FAIL_FOR: Duration = Duration::from_secs(60);

/// The longest that rows whose senders wait are held because as many others as last time are on their way.
pub const GATHERING_MAX: Duration = Duration::from_millis(5);

/// Requests that the log takes at once when it is busy: then it waits as long as it wrote for more to come.
pub const LOG_BUSY: usize = 16;

/// The longest that it waits so.
pub const LOG_GATHERING_MAX: Duration = Duration::from_millis(2);

/// Requests of one table that one snapshot takes.
pub const GROUP_REQUESTS_MAX: usize = 10_000;

/// Milliseconds that ingest leaves a table to clients after the first of their commits lost its race.
pub const COURTESY_FIRST_MS: u64 = 150;

/// Milliseconds that it leaves the table to them at most, however many were lost.
pub const COURTESY_MS_MAX: u64 = 2_000;

/// Tables that are left alone at the same time; beyond that the one that lost longest ago is not.
pub const COURTESY_TABLES_MAX: u64 = 10_000;

/// Bytes of a refused request's body that are still taken in, so that its client reads the refusal.
pub const DISCARDED_BYTES_MAX: usize = 256 << 20;

/// Milliseconds that this may take.
pub const DISCARD_MS: u64 = 10_000;

/// Directories above the data directory, itself counted, whose names are synced at start-up.
pub const SYNCED_ANCESTORS: usize = 8;

/// Milliseconds that a client may pause in the middle of a body: it holds memory that others wait for.
pub const BODY_PAUSE_MS: u64 = 30_000;

/// Length of a `fixed` column that ingest writes; each row takes that much, also where it is null.
pub const FIXED_BYTES_MAX: u64 = 64 << 10;

/// How often a request to a store is sent again after a 5xx or a request to slow down.
pub const STORE_RETRIES: usize = 5;

/// How long a request to a store may take with all that is sent again: longer than that, its caller hears of it.
pub const STORE_PATIENCE: Duration = Duration::from_secs(15);

/// How long one try of a request to a store may take. Parts are small enough for slow links.
pub const STORE_REQUEST: Duration = Duration::from_secs(15);

/// How long it may take to reach a store.
pub const STORE_CONNECT: Duration = Duration::from_secs(3);

/// How often an object whose put was not answered is looked for and put again.
pub const PUT_ATTEMPTS: usize = 3;

/// Bytes from which on an object goes up in parts.
pub const MULTIPART_FROM_BYTES: usize = 32 << 20;

/// Bytes of a part. A bucket takes 10 000 of them.
pub const PART_BYTES: usize = 16 << 20;

/// Parts of one object that go up at the same time.
pub const PARTS_UNDER_WAY: usize = 4;

/// How long keys are lent for: what a role allows where nobody has said more.
pub const LENT_KEYS: Duration = Duration::from_secs(3_600);

/// How long a service that lends no keys is left alone, where nobody has said that it does.
pub const REFUSED_FOR: Duration = Duration::from_secs(60);

/// Milliseconds of a warehouse's own token or signing key that must be left to make lent keys of it.
pub const OWN_TOKEN_LEFT_MS: i64 = 50 * 60_000;

/// Tables whose lent keys are kept, reading and writing apart.
pub const LENT_KEYS_MAX: u64 = 100_000;

/// Staged tables whose locations are remembered; each is a row of some hundred bytes.
pub const STAGED_TABLES_MAX: i64 = 10_000;

/// How long a table that is staged may take to come to be.
pub const STAGED_FOR_MS: i64 = 24 * 3_600 * 1_000;

/// Files of a table's metadata folder that are looked through for something to go back to.
pub const METADATA_FILES_LISTED: usize = 100_000;

/// Locations of one table that clients are given the means to reach: a policy has 2 048 characters.
pub const TABLE_LOCATIONS_MAX: usize = 4;

/// Bytes of the URI, and of the headers, of a request that is signed.
pub const SIGNED_HEADER_BYTES: usize = 16 << 10;

/// Headers of a request that is signed.
pub const SIGNED_HEADERS: usize = 100;

/// Warehouses of one server.
pub const WAREHOUSES_MAX: usize = 100;

/// How long a commit waits for its version hint to be put.
pub const VERSION_HINT_WAIT: Duration = Duration::from_secs(5);

/// Milliseconds for which clients still reach the files of a table that was dropped without purge, as keys that they were
/// lent before would.
pub const IN_REACH_AFTER_DROP_MS: i64 = 3_600_000;
