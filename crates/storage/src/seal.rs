//! Sealed tokens: text that a client carries for us and can neither read nor change.
//!
//! XChaCha20-Poly1305 (draft-irtf-cfrg-xchacha-03) under mesh-wide keys, so that a token sealed in one cell opens in
//! every other (OWN-2). Each token is bound to a purpose and a context (method, user, …) as associated data: it opens
//! only for what it was sealed for. Nonces are random, 192 bits; the key id in front allows rotation.

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use chacha20poly1305::{
    KeyInit, XChaCha20Poly1305, XNonce,
    aead::{Aead, Payload},
};
use std::{fmt, sync::Arc};

const FORMAT: u8 = 1;
const KEY_ID_LEN: usize = 4;
const NONCE_LEN: usize = 24;
const TAG_LEN: usize = 16;
const HEADER_LEN: usize = 1 + KEY_ID_LEN + NONCE_LEN;

/// Longest token that is looked at, in characters.
pub const MAX_TOKEN_LEN: usize = 8192;

/// One key of the mesh.
#[derive(Clone)]
pub struct SealKey {
    /// Names it in tokens.
    pub id: u32,
    /// 32 random bytes.
    pub secret: [u8; 32],
}

impl fmt::Debug for SealKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SealKey").field("id", &self.id).finish_non_exhaustive()
    }
}

/// Keys that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealKeysError {
    /// None was given.
    #[error("no seal key is configured, at least one is needed")]
    Empty,
    /// An id was given twice.
    #[error("seal key id {0} is used twice")]
    Duplicate(u32),
}

/// Why a token does not open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// Not a token of ours at all.
    #[error("token is malformed")]
    Malformed,
    /// Sealed with a key that is no longer, or not yet, known.
    #[error("token was sealed with key {0}, which is not known")]
    UnknownKey(u32),
    /// Changed, or sealed for another purpose, method or user.
    #[error("token is not valid for this call")]
    Invalid,
}

/// The mesh's keys: the first seals, all open.
#[derive(Clone)]
pub struct SealKeys(Arc<[(SealKey, XChaCha20Poly1305)]>);

impl fmt::Debug for SealKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|(key, _)| key)).finish()
    }
}

impl SealKeys {
    /// Takes keys into use. To rotate: add the new one at the end everywhere, then move it to the front everywhere,
    /// then, once old tokens no longer matter, drop the old one.
    ///
    /// # Errors
    /// If there is none, or two have one id.
    pub fn new(keys: &[SealKey]) -> Result<Self, SealKeysError> {
        if keys.is_empty() {
            return Err(SealKeysError::Empty);
        }
        for (at, key) in keys.iter().enumerate() {
            if keys[..at].iter().any(|other| other.id == key.id) {
                return Err(SealKeysError::Duplicate(key.id));
            }
        }
        Ok(Self(keys.iter().map(|key| (key.clone(), XChaCha20Poly1305::new(&key.secret.into()))).collect()))
    }

    /// Secrets for another keyed primitive, one of each key, in the keys' order and with their ids. `purpose` names the
    /// use for ever and for nobody else (BLAKE3's `derive_key` context).
    #[must_use]
    pub fn derive(&self, purpose: &str) -> Vec<(u32, [u8; 32])> {
        self.0.iter().map(|(key, _)| (key.id, blake3::derive_key(purpose, &key.secret))).collect()
    }

    /// Seals `message` for `purpose` and `context`; gives URL-safe text.
    #[must_use]
    pub fn seal(&self, purpose: &str, context: &[&[u8]], message: &[u8]) -> String {
        self.seal_with_nonce(purpose, context, message, rand::random())
    }

    /// [`seal`](Self::seal) with a given nonce, which must never be used twice.
    fn seal_with_nonce(&self, purpose: &str, context: &[&[u8]], message: &[u8], nonce: [u8; NONCE_LEN]) -> String {
        // `new` refuses an empty list.
        let (SealKey { id, .. }, cipher) = &self.0[0];
        let mut token = Vec::with_capacity(HEADER_LEN + message.len() + TAG_LEN);
        token.push(FORMAT);
        token.extend_from_slice(&id.to_be_bytes());
        token.extend_from_slice(&nonce);
        let aad = associated(*id, purpose, context);
        let sealed = cipher.encrypt(&XNonce::from(nonce), Payload { msg: message, aad: &aad });
        token.extend(sealed.expect("XChaCha20-Poly1305 fails only above 256 GiB"));
        BASE64_URL_SAFE_NO_PAD.encode(token)
    }

    /// Opens a token.
    ///
    /// # Errors
    /// If it is malformed, of an unknown key, was changed, or was sealed for something else.
    pub fn open(&self, purpose: &str, context: &[&[u8]], token: &str) -> Result<Vec<u8>, SealError> {
        if token.len() > MAX_TOKEN_LEN {
            return Err(SealError::Malformed);
        }
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(token).map_err(|_| SealError::Malformed)?;
        let (&[FORMAT, i0, i1, i2, i3, ref rest @ ..], true) = (&*bytes, bytes.len() >= HEADER_LEN + TAG_LEN) else {
            return Err(SealError::Malformed);
        };
        let id = u32::from_be_bytes([i0, i1, i2, i3]);
        let (nonce, sealed) = rest.split_first_chunk::<NONCE_LEN>().ok_or(SealError::Malformed)?;
        let (_, cipher) = self.0.iter().find(|(key, _)| key.id == id).ok_or(SealError::UnknownKey(id))?;
        let aad = associated(id, purpose, context);
        cipher.decrypt(&XNonce::from(*nonce), Payload { msg: sealed, aad: &aad }).map_err(|_| SealError::Invalid)
    }
}

/// Associated data; each part carries its length, so that no two lists of parts give the same bytes.
fn associated(key_id: u32, purpose: &str, context: &[&[u8]]) -> Vec<u8> {
    let mut out = vec![FORMAT];
    out.extend_from_slice(&key_id.to_be_bytes());
    for part in [purpose.as_bytes()].iter().chain(context) {
        out.extend_from_slice(&(part.len() as u64).to_be_bytes());
        out.extend_from_slice(part);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn keys(ids: &[u32]) -> SealKeys {
        let key = |id: &u32| SealKey { id: *id, secret: [*id as u8; 32] };
        SealKeys::new(&ids.iter().map(key).collect::<Vec<_>>()).expect("ids differ")
    }

    #[test]
    fn a_token_never_changes_its_format() {
        let token = keys(&[7]).seal_with_nonce("page", &[b"/a.B/C", b"user"], b"position", [9; 24]);
        assert_eq!(token, "AQAAAAcJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQnOHZHjCMMWDEwF1lbVytywxopv8ZhgXL0");
    }

    #[test]
    fn after_a_rotation_old_tokens_open_until_their_key_is_dropped() {
        let token = keys(&[1]).seal("page", &[], b"x");
        assert_eq!(keys(&[2, 1]).open("page", &[], &token).as_deref(), Ok(&b"x"[..]));
        assert_eq!(keys(&[2]).open("page", &[], &token), Err(SealError::UnknownKey(1)));
    }

    #[test]
    fn a_key_id_cannot_be_exchanged() {
        let same_secret = |id| SealKey { id, secret: [5; 32] };
        let one = SealKeys::new(&[same_secret(1)]).expect("one key");
        let both = SealKeys::new(&[same_secret(1), same_secret(2)]).expect("two ids");
        let mut bytes = BASE64_URL_SAFE_NO_PAD.decode(one.seal("p", &[], b"x")).expect("ours");
        bytes[4] = 2;
        assert_eq!(both.open("p", &[], &BASE64_URL_SAFE_NO_PAD.encode(bytes)), Err(SealError::Invalid));
    }

    #[test]
    fn keys_must_exist_and_differ() {
        assert_eq!(SealKeys::new(&[]).err(), Some(SealKeysError::Empty));
        let twice = [SealKey { id: 3, secret: [0; 32] }, SealKey { id: 3, secret: [1; 32] }];
        assert_eq!(SealKeys::new(&twice).err(), Some(SealKeysError::Duplicate(3)));
    }

    proptest! {
        #[test]
        fn what_is_sealed_opens_only_for_the_same_purpose_and_context(
            message in proptest::collection::vec(any::<u8>(), 0..200),
            purpose in "[a-z]{0,8}", other in "[a-z]{0,8}",
            context in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..8), 0..4),
            elsewhere in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..8), 0..4),
        ) {
            let context: Vec<&[u8]> = context.iter().map(Vec::as_slice).collect();
            let elsewhere: Vec<&[u8]> = elsewhere.iter().map(Vec::as_slice).collect();
            let keys = keys(&[1]);
            let token = keys.seal(&purpose, &context, &message);
            prop_assert_eq!(keys.open(&purpose, &context, &token), Ok(message));
            if (&purpose, &context) != (&other, &elsewhere) {
                prop_assert_eq!(keys.open(&other, &elsewhere, &token), Err(SealError::Invalid));
            }
        }

        #[test]
        fn a_changed_token_does_not_open(at in any::<prop::sample::Index>(), bit in 0_u32..8) {
            let keys = keys(&[1]);
            let mut bytes = BASE64_URL_SAFE_NO_PAD.decode(keys.seal("p", &[b"c"], b"message")).expect("ours");
            let at = at.index(bytes.len());
            bytes[at] ^= 1_u8 << bit;
            prop_assert!(keys.open("p", &[b"c"], &BASE64_URL_SAFE_NO_PAD.encode(bytes)).is_err());
        }

        #[test]
        fn garbage_does_not_open(text in ".{0,300}") {
            prop_assert!(keys(&[1]).open("p", &[], &text).is_err());
        }
    }
}
