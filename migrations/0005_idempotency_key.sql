-- What was answered under an Idempotency-Key. A row enters in the transaction of the effect that it answers for.

create table idempotency_key (
    -- whose keys: an interface and a token
    scope       text   not null,
    key         text   not null,
    -- the SHA-256 of the request, in hexadecimal
    fingerprint text   not null,
    -- what the answer is made of again
    answer      text   not null,
    expires_ms  bigint not null,
    primary key (scope, key)
);

create index idempotency_key_expiry on idempotency_key (expires_ms);
