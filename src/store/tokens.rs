//! The `token` table: who may call.

use sqlx::any::AnyRow;

use super::{Store, column, unavailable};
use crate::error::Result;

/// A token as it is kept.
#[derive(Debug, Clone)]
pub struct TokenRow {
    /// Its id.
    pub id: String,
    /// What people call it.
    pub name: String,
    /// The word for what it may do.
    pub grants: String,
    /// The SHA-256 of its secret, in hexadecimal.
    pub secret_hash: String,
    /// When it was made.
    pub created_ms: i64,
    /// When it ends, if it does.
    pub expires_ms: Option<i64>,
}

impl Store {
    /// Keeps a new token.
    pub async fn add_token(&self, token: &TokenRow) -> Result<()> {
        let mut transaction = self.write().await?;
        sqlx::query(
            "insert into token (id, name, grants, secret_hash, created_ms, expires_ms) values ($1, $2, $3, $4, $5, $6)",
        )
        .bind(token.id.as_str())
        .bind(token.name.as_str())
        .bind(token.grants.as_str())
        .bind(token.secret_hash.as_str())
        .bind(token.created_ms)
        .bind(token.expires_ms)
        .execute(&mut *transaction)
        .await
        .map_err(unavailable)?;
        transaction.commit().await
    }

    /// Every token, the oldest first.
    pub async fn tokens(&self) -> Result<Vec<TokenRow>> {
        let mut connection = self.read().await?;
        let rows = sqlx::query(
            "select id, name, grants, secret_hash, created_ms, expires_ms from token order by created_ms, id",
        )
        .fetch_all(&mut *connection)
        .await
        .map_err(unavailable)?;
        rows.iter().map(from_row).collect()
    }

    /// Removes a token; whether it was there.
    pub async fn remove_token(&self, id: &str) -> Result<bool> {
        let mut transaction = self.write().await?;
        let gone = sqlx::query("delete from token where id = $1")
            .bind(id)
            .execute(&mut *transaction)
            .await
            .map_err(unavailable)?;
        transaction.commit().await?;
        Ok(gone.rows_affected() > 0)
    }
}

fn from_row(row: &AnyRow) -> Result<TokenRow> {
    Ok(TokenRow {
        id: column(row, "id")?,
        name: column(row, "name")?,
        grants: column(row, "grants")?,
        secret_hash: column(row, "secret_hash")?,
        created_ms: column(row, "created_ms")?,
        expires_ms: column(row, "expires_ms")?,
    })
}
