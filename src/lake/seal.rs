//! Secrets in the database: sealed with a key that is not in it.
//!
//! ChaCha20-Poly1305 under the configuration's `seal-key`, with a fresh nonce each time. What is sealed is bound to what it
//! is for: sealed text that is moved to another name does not open.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::rand::{SecureRandom, SystemRandom};

use super::settings::Secret;
use crate::error::{Error, Result};

/// The key that secrets are sealed with.
#[derive(Clone)]
pub struct SealKey([u8; 32]);

impl std::fmt::Debug for SealKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SealKey")
    }
}

impl SealKey {
    /// A key of 32 bytes, written in base64.
    pub fn parse(text: &str) -> Result<Self> {
        let bytes = BASE64_STANDARD.decode(text.trim()).ok().and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
        bytes.map(Self).ok_or_else(|| {
            Error::illegal("seal-key must be 32 bytes in base64, such as `openssl rand -base64 32` prints")
        })
    }

    fn key(&self) -> Result<LessSafeKey> {
        let key = UnboundKey::new(&CHACHA20_POLY1305, &self.0).map_err(|_| Error::internal("No key can be made"))?;
        Ok(LessSafeKey::new(key))
    }

    /// Seals a text for a purpose.
    pub fn seal(&self, purpose: &str, text: &str) -> Result<String> {
        let mut nonce = [0; NONCE_LEN];
        SystemRandom::new().fill(&mut nonce).map_err(|_| Error::internal("The system gives no random bytes"))?;
        let mut sealed = text.as_bytes().to_vec();
        let aad = Aad::from(purpose.as_bytes());
        self.key()?
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), aad, &mut sealed)
            .map_err(|_| Error::internal("A secret cannot be sealed"))?;
        Ok(BASE64_STANDARD.encode([&nonce[..], &sealed].concat()))
    }

    /// The text that was sealed for this purpose with this key.
    pub fn open(&self, purpose: &str, sealed: &str) -> Result<Secret> {
        let closed =
            || Error::illegal("its secrets were sealed with another seal-key: set that one, or give them anew");
        let bytes = BASE64_STANDARD.decode(sealed).map_err(|_| closed())?;
        let (nonce, text) = bytes.split_at_checked(NONCE_LEN).ok_or_else(closed)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| closed())?;
        let mut text = text.to_vec();
        let opened =
            self.key()?.open_in_place(nonce, Aad::from(purpose.as_bytes()), &mut text).map_err(|_| closed())?;
        String::from_utf8(opened.to_vec()).map(Secret::new).map_err(|_| closed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_key_and_purpose_open() {
        let key = |byte: u8| SealKey::parse(&BASE64_STANDARD.encode([byte; 32])).expect("a key");
        let sealed = key(1).seal("lake", "secret").expect("sealed");
        assert_eq!(key(1).open("lake", &sealed).expect("opened").reveal(), "secret");
        assert_ne!(key(1).seal("lake", "secret").expect("sealed"), sealed, "a nonce is used once");
        for (key, purpose, text) in [
            (key(2), "lake", sealed.clone()),
            (key(1), "sea", sealed.clone()),
            (key(1), "lake", sealed.replacen(&sealed[..4], "AAAA", 1)),
            (key(1), "lake", String::new()),
            (key(1), "lake", "no base64!".to_owned()),
        ] {
            assert!(key.open(purpose, &text).is_err(), "{purpose} {text}");
        }
        for bad in ["", "c2hvcnQ=", "not base64"] {
            assert!(SealKey::parse(bad).is_err(), "{bad:?}");
        }
    }
}
