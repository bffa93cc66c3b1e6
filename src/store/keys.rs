//! The `idempotency_key` table: what was answered under a key that a client chose.

use sqlx::AnyConnection;

use super::{Store, column, unavailable};
use crate::error::Result;

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
    /// The fingerprint and the answer that are kept under a key, if any are and have not expired.
    pub async fn find_key(&self, scope: &str, key: &str) -> Result<Option<(String, String)>> {
        let mut connection = self.read().await?;
        let row = sqlx::query(
            "select fingerprint, answer from idempotency_key where scope = $1 and key = $2 and expires_ms > $3",
        )
        .bind(scope)
        .bind(key)
        .bind(self.clock.now_ms())
        .fetch_optional(&mut *connection)
        .await
        .map_err(unavailable)?;
        row.map(|row| Ok((column(&row, "fingerprint")?, column(&row, "answer")?))).transpose()
    }

    /// Keeps an answer that has no effect beside it.
    pub async fn keep_key(&self, row: &KeyRow) -> Result<()> {
        let mut transaction = self.write().await?;
        insert(&mut transaction, row).await?;
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

/// Adds a key in the transaction of its effect, in place of one that has expired.
pub(super) async fn insert(connection: &mut AnyConnection, row: &KeyRow) -> Result<()> {
    sqlx::query(
        "insert into idempotency_key (scope, key, fingerprint, answer, expires_ms) values ($1, $2, $3, $4, $5)
         on conflict (scope, key)
         do update set fingerprint = excluded.fingerprint, answer = excluded.answer, expires_ms = excluded.expires_ms",
    )
    .bind(row.scope.as_str())
    .bind(row.key.as_str())
    .bind(row.fingerprint.as_str())
    .bind(row.answer.as_str())
    .bind(row.expires_ms)
    .execute(&mut *connection)
    .await
    .map_err(unavailable)?;
    Ok(())
}
