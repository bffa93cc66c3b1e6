//! Access tokens: what a client that speaks OAuth gets for a token's secret (RFC 7519, HS256).
//!
//! The key is made of the server's own and the hash of the token's secret: when the token goes, so does every access token
//! that was given for it.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation, decode, encode};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// Seconds that an access token lasts.
pub const LIFETIME_S: i64 = 3_600;

/// What an access token says.
#[derive(Debug, Serialize, Deserialize)]
struct Claims {
    /// The id of the token that it was given for.
    sub: String,
    /// When it ends, in seconds.
    exp: i64,
}

/// An access token for the token with this id, until `expires_s`.
pub(super) fn sign(id: &str, key: &[u8], expires_s: i64) -> Result<String> {
    let claims = Claims { sub: id.to_owned(), exp: expires_s };
    encode(&Header::new(Algorithm::HS256), &claims, &EncodingKey::from_secret(key))
        .map_err(|error| Error::internal("An access token cannot be signed").because(error))
}

/// The id of the token that an access token says it was given for; nothing of it is checked yet.
pub(super) fn id_of(bearer: &str) -> Option<String> {
    let payload = URL_SAFE_NO_PAD.decode(bearer.split('.').nth(1)?).ok()?;
    let claims: Claims = serde_json::from_slice(&payload).ok()?;
    Some(claims.sub)
}

/// Whether an access token was signed with this key and has not ended.
pub(super) fn verify(bearer: &str, key: &[u8], now_ms: i64) -> bool {
    let mut validation = Validation::new(Algorithm::HS256);
    // By our own clock, and to the second.
    validation.validate_exp = false;
    let decoded = decode::<Claims>(bearer, &DecodingKey::from_secret(key), &validation);
    decoded.is_ok_and(|decoded| decoded.claims.exp.saturating_mul(1_000) > now_ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_its_own_key_and_time_make_it_valid() {
        let token = sign("abc", b"key", 100).expect("signed");
        assert_eq!(id_of(&token).as_deref(), Some("abc"));
        assert!(verify(&token, b"key", 99_999));
        assert!(!verify(&token, b"key", 100_000), "it has ended");
        assert!(!verify(&token, b"other", 0));
        let parts: Vec<&str> = token.split('.').collect();
        let unsigned = URL_SAFE_NO_PAD.encode(r#"{"alg":"none","typ":"JWT"}"#);
        assert!(!verify(&format!("{unsigned}.{}.", parts[1]), b"key", 0));
        assert!(!verify(&format!("{}.{}.{}", parts[0], parts[1], "AAAA"), b"key", 0));
        let other = URL_SAFE_NO_PAD.encode(r#"{"sub":"admin","exp":100}"#);
        assert!(!verify(&format!("{}.{other}.{}", parts[0], parts[2]), b"key", 0));
        for odd in ["", ".", "a.b.c", "None", "..."] {
            assert!(id_of(odd).is_none() && !verify(odd, b"key", 0), "{odd:?}");
        }
    }
}
