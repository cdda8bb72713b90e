//! What is believed on which listener, and what is stripped.

use crate::{
    error::{MeshError, Reason},
    metadata::{self, OPERATOR_TOKEN, PEER_TOKEN, PREFIX, PRIORITY, USER, USER_BIN},
};
use cell_map::{MapEpoch, OwnerEpochs};
use http::{HeaderMap, HeaderName, HeaderValue};
use std::fmt;

/// Where a call came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Listener {
    /// From anyone: hops, epochs and cell are stripped.
    Front,
    /// From the mesh's own processes, who prove it by the peer token: hops and epochs are believed.
    Peer,
}

impl Listener {
    /// `front` or `peer`, for metrics and spans.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Front => "front",
            Self::Peer => "peer",
        }
    }
}

/// The secret that makes a caller a peer. Compared in constant time, never printed.
#[derive(Clone)]
pub struct PeerToken(HeaderValue);

/// A token that cannot be sent as metadata.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the token is not 16 to 512 printable ascii characters without spaces")]
pub struct PeerTokenError;

impl PeerToken {
    /// A checked token.
    ///
    /// # Errors
    /// If shorter than 16 or longer than 512 characters, or not printable ASCII without spaces.
    pub fn new(token: &str) -> Result<Self, PeerTokenError> {
        let printable = token.bytes().all(|b| b.is_ascii_graphic());
        let fits = (16..=512).contains(&token.len());
        let mut value = HeaderValue::from_str(token).map_err(|_| PeerTokenError)?;
        value.set_sensitive(true);
        if printable && fits { Ok(Self(value)) } else { Err(PeerTokenError) }
    }

    /// For an outgoing call to a peer listener. Marked sensitive, so HPACK does not index it.
    #[must_use]
    pub fn header(&self) -> HeaderValue {
        self.0.clone()
    }

    /// Whether this is the token; takes as long for a near miss as for a far one.
    #[must_use]
    pub fn matches(&self, offered: &[u8]) -> bool {
        let token = self.0.as_bytes();
        let difference = token.iter().zip(offered).fold(0, |acc, (a, b)| acc | (a ^ b));
        token.len() == offered.len() && std::hint::black_box(difference) == 0
    }
}

/// The secret that lets a caller change the cell map. Like the peers' one, but another: who holds it is no peer.
#[derive(Clone, Debug)]
pub struct OperatorToken(PeerToken);

impl OperatorToken {
    /// A checked token.
    ///
    /// # Errors
    /// As [`PeerToken::new`].
    pub fn new(token: &str) -> Result<Self, PeerTokenError> {
        PeerToken::new(token).map(Self)
    }

    /// For an outgoing call. Marked sensitive, so HPACK does not index it.
    #[must_use]
    pub fn header(&self) -> HeaderValue {
        self.0.header()
    }

    /// Whether a call brings it; compared as peers' is.
    ///
    /// # Errors
    /// PERMISSION_DENIED if not.
    pub fn require(&self, headers: &HeaderMap) -> Result<(), MeshError> {
        match headers.get(&OPERATOR_TOKEN) {
            Some(offered) if self.0.matches(offered.as_bytes()) => Ok(()),
            Some(_) => Err(denied("metadata \"cellmesh-operator-token\" is not the operator token")),
            None => Err(denied("an operator's call wants metadata \"cellmesh-operator-token\"")),
        }
    }
}

fn denied(message: &'static str) -> MeshError {
    MeshError::new(Reason::PermissionDenied, message)
}

impl fmt::Debug for PeerToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PeerToken(…)")
    }
}

/// What a peer said and is believed; all zero for everyone else.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Believed {
    /// Cross-cell hops so far.
    pub hops: u32,
    /// Epochs that the caller asks with.
    pub asked: OwnerEpochs,
    /// Map epoch that the caller decided by.
    pub map_epoch: Option<MapEpoch>,
}

/// Removes every name of the mesh but the user key and the priority, which are hints from anyone, and the operator token, which is
/// judged where the map is kept.
pub fn strip(headers: &mut HeaderMap) {
    const KEPT: [HeaderName; 4] = [USER, USER_BIN, PRIORITY, OPERATOR_TOKEN];
    let ours = |name: &HeaderName| name.as_str().starts_with(PREFIX) && !KEPT.contains(name);
    // Rare: an honest caller of a front listener sends none, so nothing is allocated.
    while let Some(name) = headers.keys().find(|name| ours(name)).cloned() {
        headers.remove(name);
    }
}

/// Decides what is believed of a call, and leaves only what may go on: a service never sees the token, nor what a
/// stranger claimed.
///
/// # Errors
/// UNAUTHENTICATED_PEER without the token on a peer listener (also when none is configured); BAD_REQUEST when a peer's
/// numbers are malformed.
pub fn admit(listener: Listener, token: Option<&PeerToken>, headers: &mut HeaderMap) -> Result<Believed, MeshError> {
    let believed = match listener {
        Listener::Front => Believed::default(),
        Listener::Peer => {
            let offered = headers.get(&PEER_TOKEN);
            let known = token.zip(offered).is_some_and(|(token, offered)| token.matches(offered.as_bytes()));
            if !known {
                let message = "the peer listener wants metadata \"cellmesh-peer-token\"";
                return Err(MeshError::new(Reason::UnauthenticatedPeer, message));
            }
            Believed {
                hops: metadata::hops(headers)?.unwrap_or(0),
                asked: OwnerEpochs::new(
                    metadata::user_epoch(headers)?.unwrap_or_default(),
                    metadata::bucket_epoch(headers)?.unwrap_or_default(),
                ),
                map_epoch: metadata::map_epoch(headers)?,
            }
        }
    };
    strip(headers);
    Ok(believed)
}

/// Writes what a peer is to believe, and the token that makes it do so.
pub fn assert_as_peer(token: &PeerToken, believed: Believed, headers: &mut HeaderMap) {
    headers.insert(PEER_TOKEN, token.header());
    headers.insert(metadata::HOPS, metadata::decimal(believed.hops.into()));
    headers.insert(metadata::USER_EPOCH, metadata::decimal(believed.asked.user.get()));
    headers.insert(metadata::BUCKET_EPOCH, metadata::decimal(believed.asked.bucket.get()));
    if let Some(epoch) = believed.map_epoch {
        headers.insert(metadata::MAP_EPOCH, metadata::decimal(epoch.get()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cell_map::{BucketEpoch, UserEpoch};
    use tonic::Code;

    fn token() -> PeerToken {
        PeerToken::new("0123456789abcdef").unwrap()
    }

    fn claims() -> Believed {
        let asked = OwnerEpochs::new(UserEpoch::new(3), BucketEpoch::new(4));
        Believed { hops: 1, asked, map_epoch: Some(MapEpoch::new(5)) }
    }

    #[test]
    fn a_stranger_is_not_believed() {
        let mut headers = HeaderMap::new();
        assert_as_peer(&token(), claims(), &mut headers);
        headers.append("cellmesh-cell", HeaderValue::from_static("sh-1"));
        headers.append("cellmesh-cell", HeaderValue::from_static("sh-2"));
        headers.insert("cellmesh-user", HeaderValue::from_static("u"));
        headers.insert("cellmesh-priority", HeaderValue::from_static("non-core"));
        let believed = admit(Listener::Front, Some(&token()), &mut headers).unwrap();
        assert_eq!(believed, Believed::default());
        let mut left: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["cellmesh-priority", "cellmesh-user"]);
    }

    #[test]
    fn a_peer_is_believed_by_its_token() {
        let mut headers = HeaderMap::new();
        assert_as_peer(&token(), claims(), &mut headers);
        assert_eq!(admit(Listener::Peer, Some(&token()), &mut headers).unwrap(), claims());
        assert!(!headers.contains_key(PEER_TOKEN), "the service must not see the token");
    }

    #[test]
    fn a_peer_listener_refuses_without_the_token() {
        for (configured, offered) in [
            (Some(token()), None),
            (Some(token()), Some("0123456789abcdeg")),
            (Some(token()), Some("0123456789abcde")),
            (Some(token()), Some("")),
            (None, Some("0123456789abcdef")),
        ] {
            let mut headers = HeaderMap::new();
            if let Some(offered) = offered {
                headers.insert(PEER_TOKEN, HeaderValue::from_static(offered));
            }
            let error = admit(Listener::Peer, configured.as_ref(), &mut headers).unwrap_err();
            assert_eq!(error.code(), Code::Unauthenticated, "{offered:?}");
        }
    }

    #[test]
    fn the_operator_token_goes_on_from_any_listener_and_a_near_miss_is_none() {
        let operator = OperatorToken::new("fedcba9876543210").unwrap();
        let mut headers = HeaderMap::new();
        assert_eq!(operator.require(&headers).unwrap_err().code(), Code::PermissionDenied);
        for listener in [Listener::Front, Listener::Peer] {
            headers.insert(PEER_TOKEN, token().header());
            headers.insert(OPERATOR_TOKEN, operator.header());
            admit(listener, Some(&token()), &mut headers).unwrap();
            operator.require(&headers).unwrap();
        }
        for offered in ["fedcba987654321", "fedcba9876543211", "0123456789abcdef", ""] {
            headers.insert(OPERATOR_TOKEN, HeaderValue::from_static(offered));
            let error = operator.require(&headers).unwrap_err();
            assert_eq!(error.code(), Code::PermissionDenied, "{offered:?}");
            assert!(!error.to_string().contains("fedcba"), "the token is not told");
        }
    }

    #[test]
    fn tokens_are_long_and_hidden() {
        assert!(PeerToken::new("short").is_err());
        assert!(PeerToken::new("with a space in the middle").is_err());
        assert!(!format!("{:?}", token()).contains("0123"));
    }
}
