-- Who may call: a secret is kept as its SHA-256 alone, and is shown once, when it is made.

create table token (
    id          text   not null primary key,
    name        text   not null,
    -- 'read', 'write' or 'admin'
    grants      text   not null,
    -- in hexadecimal
    secret_hash text   not null,
    created_ms  bigint not null,
    expires_ms  bigint
);

create unique index token_secret on token (secret_hash);
