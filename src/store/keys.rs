//! The `idempotency_key` table: what was answered under a key that a client chose.

use sqlx::any::AnyRow;
use sqlx::{AnyConnection, AssertSqlSafe};

use super::moves::placeholders;
use super::{Store, column, unavailable};
use crate::error::Result;
use crate::limits;

/// An answer, and the key and request that it belongs to.
#[derive(Debug, Clone)]
pub struct KeyRow {
    /// Whose keys: an interface and a token.
    pub scope: String,
    /// The key.
    pub key: String,
    /// The request's fingerprint.
    pub fingerprint: String,
    /// What the answer is made of again.
    pub answer: String,
    /// Until when it is kept.
    pub expires_ms: i64,
}

impl Store {
    /// What is kept under these keys and has not expired, in no order. Each is a scope and a key.
    pub async fn find_keys(&self, keys: &[(&str, &str)]) -> Result<Vec<KeyRow>> {
        let mut connection = self.read().await?;
        let mut found = Vec::new();
        for some in keys.chunks(limits::KEYS_PER_STATEMENT) {
            let sql = format!(
                "select scope, key, fingerprint, answer, expires_ms from idempotency_key
                 where expires_ms > $1 and (scope, key) in (values {})",
                placeholders(some.len(), 2, 2)
            );
            let mut query = sqlx::query(AssertSqlSafe(sql)).bind(self.clock.now_ms());
            for (scope, key) in some {
                query = query.bind(*scope).bind(*key);
            }
            let rows = query.fetch_all(&mut *connection).await.map_err(unavailable)?;
            found.extend(rows.iter().map(key_row).collect::<Result<Vec<_>>>()?);
        }
        Ok(found)
    }

    /// What is kept of a scope under keys from one on and before another, and has not expired, in order; at most so many.
    pub async fn find_keys_between(&self, scope: &str, (from, before): (&str, &str), most: i64) -> Result<Vec<KeyRow>> {
        let mut connection = self.read().await?;
        let rows = sqlx::query(
            "select scope, key, fingerprint, answer, expires_ms from idempotency_key
             where scope = $1 and key >= $2 and key < $3 and expires_ms > $4 order by key limit $5",
        )
        .bind(scope)
        .bind(from)
        .bind(before)
        .bind(self.clock.now_ms())
        .bind(most)
        .fetch_all(&mut *connection)
        .await
        .map_err(unavailable)?;
        rows.iter().map(key_row).collect()
    }

    /// Keeps an answer that has no effect beside it, if none is kept under its key.
    pub async fn keep_key(&self, row: &KeyRow) -> Result<()> {
        let mut transaction = self.write().await?;
        insert(&mut transaction, std::slice::from_ref(row), self.clock.now_ms()).await?;
        transaction.commit().await
    }

    /// How many keys there are.
    pub async fn count_keys(&self) -> Result<i64> {
        let mut connection = self.read().await?;
        let row = sqlx::query("select count(*) as kept from idempotency_key")
            .fetch_one(&mut *connection)
            .await
            .map_err(unavailable)?;
        column(&row, "kept")
    }

    /// Removes keys that have expired, at most so many; how many went.
    pub async fn drop_expired_keys(&self, most: i64) -> Result<u64> {
        let mut transaction = self.write().await?;
        let gone = sqlx::query(
            "delete from idempotency_key where (scope, key) in (
                 select scope, key from idempotency_key where expires_ms <= $1 order by expires_ms limit $2)",
        )
        .bind(self.clock.now_ms())
        .bind(most)
        .execute(&mut *transaction)
        .await
        .map_err(unavailable)?;
        transaction.commit().await?;
        Ok(gone.rows_affected())
    }
}

fn key_row(row: &AnyRow) -> Result<KeyRow> {
    Ok(KeyRow {
        scope: column(row, "scope")?,
        key: column(row, "key")?,
        fingerprint: column(row, "fingerprint")?,
        answer: column(row, "answer")?,
        expires_ms: column(row, "expires_ms")?,
    })
}

/// Adds keys in the transaction of their effect, in place of those that have expired; whether none was there.
pub(super) async fn insert(connection: &mut AnyConnection, keys: &[KeyRow], now_ms: i64) -> Result<bool> {
    for some in keys.chunks(limits::KEYS_PER_STATEMENT) {
        let sql = format!(
            "insert into idempotency_key (scope, key, fingerprint, answer, expires_ms) values {}
             on conflict (scope, key)
             do update set fingerprint = excluded.fingerprint, answer = excluded.answer, expires_ms = excluded.expires_ms
             where idempotency_key.expires_ms <= $1",
            placeholders(some.len(), 5, 2)
        );
        let mut query = sqlx::query(AssertSqlSafe(sql)).bind(now_ms);
        for row in some {
            query = query
                .bind(row.scope.as_str())
                .bind(row.key.as_str())
                .bind(row.fingerprint.as_str())
                .bind(row.answer.as_str())
                .bind(row.expires_ms);
        }
        let added = query.execute(&mut *connection).await.map_err(unavailable)?;
        if added.rows_affected() != some.len() as u64 {
            return Ok(false);
        }
    }
    Ok(true)
}
