//! Names of the mesh's metadata, and the strict parse of each value.

mod token;

pub use token::{ParseTokenError, Token};

use crate::error::MeshError;
use base64::{
    Engine,
    alphabet::STANDARD,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use cell_map::{BucketEpoch, MapEpoch, UserEpoch, UserKey};
use http::{HeaderMap, HeaderName, HeaderValue};
use std::borrow::Cow;

/// User key as text, when the message has none. A routing hint from anyone, never identity.
pub const USER: HeaderName = HeaderName::from_static("cellmesh-user");
/// User key as raw bytes (base64 on the wire).
pub const USER_BIN: HeaderName = HeaderName::from_static("cellmesh-user-bin");
/// `non-core`: the call is less urgent than its policy says. A hint from anyone, which goes on as it is; nothing makes a call
/// more urgent.
pub const PRIORITY: HeaderName = HeaderName::from_static("cellmesh-priority");
/// Value of [`PRIORITY`].
pub const NON_CORE: HeaderValue = HeaderValue::from_static("non-core");
/// Epoch of the map that the previous router decided by.
pub const MAP_EPOCH: HeaderName = HeaderName::from_static("cellmesh-map-epoch");
/// User epoch that the previous router believes.
pub const USER_EPOCH: HeaderName = HeaderName::from_static("cellmesh-user-epoch");
/// Bucket epoch that the previous router believes.
pub const BUCKET_EPOCH: HeaderName = HeaderName::from_static("cellmesh-bucket-epoch");
/// Cross-cell hops so far, on requests between peers and on responses.
pub const HOPS: HeaderName = HeaderName::from_static("cellmesh-hops");
/// Secret that makes a caller a peer.
pub const PEER_TOKEN: HeaderName = HeaderName::from_static("cellmesh-peer-token");
/// Secret that lets a caller change the cell map. From anyone: it goes on to the process that keeps the map.
pub const OPERATOR_TOKEN: HeaderName = HeaderName::from_static("cellmesh-operator-token");
/// Response: the cell that answered.
pub const CELL: HeaderName = HeaderName::from_static("cellmesh-cell");
/// Response: what answered (`service`, `router`, …).
pub const SOURCE: HeaderName = HeaderName::from_static("cellmesh-source");
/// Response: `1` when nothing of the call took effect here, so it may be sent again (OWN-9).
pub const UNPROCESSED: HeaderName = HeaderName::from_static("cellmesh-unprocessed");
/// Response: `1` when no honest caller sends such a request: it could not be read, whatever it was to say.
pub const MALFORMED: HeaderName = HeaderName::from_static("cellmesh-malformed");
/// Response of a unary call for one user: where his data stood, a [`Token`] (OWN-15).
pub const TOKEN: HeaderName = HeaderName::from_static("cellmesh-token");
/// gRPC's timeout.
pub const GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");
/// Compression of the messages of this body.
pub const GRPC_ENCODING: HeaderName = HeaderName::from_static("grpc-encoding");
/// Compressions that the sender understands.
pub const GRPC_ACCEPT_ENCODING: HeaderName = HeaderName::from_static("grpc-accept-encoding");
/// Serialised `google.rpc.Status`.
pub const GRPC_STATUS_DETAILS: HeaderName = HeaderName::from_static("grpc-status-details-bin");
/// gRPC's status code.
pub const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
/// gRPC's status message, percent-encoded.
pub const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
/// W3C trace context.
pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// W3C trace state.
pub const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// What all of the mesh's own names begin with.
pub const PREFIX: &str = "cellmesh-";

/// Decodes `-bin` values, with or without padding, as gRPC asks.
pub(crate) const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_encode_padding(false).with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Whether all request metadata is well formed: printable ASCII, base64 in `-bin` values, at most one user key.
///
/// # Errors
/// BAD_REQUEST naming the header; the value is not repeated, for it may be secret.
pub fn check(headers: &HeaderMap) -> Result<(), MeshError> {
    for (name, value) in headers {
        let bytes = value.as_bytes();
        if !bytes.iter().all(|b| (0x20..=0x7e).contains(b)) {
            return Err(bad(name, "has bytes that are not printable ascii"));
        }
        if name.as_str().ends_with("-bin") && !bytes.split(|b| *b == b',').all(is_base64) {
            return Err(bad(name, "is not base64"));
        }
    }
    let mut users = headers.get_all(&USER).iter().chain(headers.get_all(&USER_BIN).iter());
    match (users.next(), users.next()) {
        (Some(_), Some(_)) => Err(bad(&USER, "or \"cellmesh-user-bin\" is given more than once")),
        _ => Ok(()),
    }
}

/// The canonical bytes of the user key in the metadata, if there is one. Call [`check`] before: of several keys this
/// takes the first.
///
/// # Errors
/// BAD_REQUEST when the value is no user key.
pub fn user_bytes(headers: &HeaderMap) -> Result<Option<Cow<'_, [u8]>>, MeshError> {
    let (name, key) = if let Some(value) = headers.get(&USER) {
        (USER, Cow::Borrowed(value.as_bytes()))
    } else if let Some(value) = headers.get(&USER_BIN) {
        let bytes = decode_bin(value.as_bytes()).ok_or_else(|| bad(&USER_BIN, "is not base64"))?;
        (USER_BIN, Cow::Owned(bytes))
    } else {
        return Ok(None);
    };
    UserKey::check(&key).map_err(|error| bad(&name, &error.to_string()))?;
    Ok(Some(key))
}

/// The user key in the metadata, if there is one.
///
/// # Errors
/// As [`user_bytes`].
pub fn user(headers: &HeaderMap) -> Result<Option<UserKey>, MeshError> {
    user_bytes(headers)?
        .map(|key| UserKey::from_bytes(&key).map_err(|error| bad(&USER, &error.to_string())))
        .transpose()
}

/// Whether the metadata makes the call less urgent than its policy says.
///
/// # Errors
/// BAD_REQUEST when `cellmesh-priority` is given and is not `non-core`.
pub fn is_non_core(headers: &HeaderMap) -> Result<bool, MeshError> {
    let mut values = headers.get_all(&PRIORITY).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(false),
        (Some(value), None) if *value == NON_CORE => Ok(true),
        _ => Err(bad(&PRIORITY, "is not \"non-core\"")),
    }
}

/// A user key as metadata: as text where that can be, else as bytes in base64.
#[must_use]
pub fn user_value(key: &[u8]) -> (HeaderName, HeaderValue) {
    let plain = key.iter().all(|b| (0x20..=0x7e).contains(b)) && key.trim_ascii().len() == key.len();
    match HeaderValue::from_bytes(key) {
        Ok(value) if plain => (USER, value),
        _ => {
            let value = HeaderValue::try_from(BASE64.encode(key)).expect("base64 is printable ascii");
            (USER_BIN, value)
        }
    }
}

/// The bytes of a `-bin` value; none if it is not base64.
#[must_use]
pub fn decode_bin(value: &[u8]) -> Option<Vec<u8>> {
    BASE64.decode(value.trim_ascii()).ok()
}

/// `cellmesh-map-epoch`, if given.
///
/// # Errors
/// BAD_REQUEST when it is not one decimal number.
pub fn map_epoch(headers: &HeaderMap) -> Result<Option<MapEpoch>, MeshError> {
    Ok(number(headers, &MAP_EPOCH)?.map(MapEpoch::new))
}

/// `cellmesh-user-epoch`, if given.
///
/// # Errors
/// BAD_REQUEST when it is not one decimal number.
pub fn user_epoch(headers: &HeaderMap) -> Result<Option<UserEpoch>, MeshError> {
    Ok(number(headers, &USER_EPOCH)?.map(UserEpoch::new))
}

/// `cellmesh-bucket-epoch`, if given.
///
/// # Errors
/// BAD_REQUEST when it is not one decimal number.
pub fn bucket_epoch(headers: &HeaderMap) -> Result<Option<BucketEpoch>, MeshError> {
    Ok(number(headers, &BUCKET_EPOCH)?.map(BucketEpoch::new))
}

/// `cellmesh-hops`, if given.
///
/// # Errors
/// BAD_REQUEST when it is not one decimal number below 256.
pub fn hops(headers: &HeaderMap) -> Result<Option<u32>, MeshError> {
    match number(headers, &HOPS)? {
        None => Ok(None),
        Some(hops) => match u8::try_from(hops) {
            Ok(hops) => Ok(Some(hops.into())),
            Err(_) => Err(bad(&HOPS, "is above 255")),
        },
    }
}

/// A number as a header value.
#[must_use]
pub fn decimal(number: u64) -> HeaderValue {
    HeaderValue::from(number)
}

fn number(headers: &HeaderMap, name: &HeaderName) -> Result<Option<u64>, MeshError> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(bad(name, "is given more than once"));
    }
    let text = value.to_str().unwrap_or_default();
    // `parse` would also take a leading plus sign.
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    match text.parse() {
        Ok(number) if digits => Ok(Some(number)),
        _ => Err(bad(name, "is not a decimal number of 64 bits")),
    }
}

fn is_base64(value: &[u8]) -> bool {
    let value = value.trim_ascii();
    // Decoding into nothing: the decoder needs room, so long values are decoded on the heap.
    let mut room = [0; 256];
    match base64::decoded_len_estimate(value.len()) {
        n if n <= room.len() => BASE64.decode_slice(value, &mut room).is_ok(),
        _ => BASE64.decode(value).is_ok(),
    }
}

fn bad(name: &HeaderName, why: &str) -> MeshError {
    MeshError::bad_request(format!("metadata \"{name}\" {why}")).violation(name.as_str(), why)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &[u8])]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in pairs {
            map.append(*name, HeaderValue::from_bytes(value).unwrap());
        }
        map
    }

    #[test]
    fn malformed_metadata_is_named() {
        for (pairs, name) in [
            (&[("x-note", "é".as_bytes())][..], "x-note"),
            (&[("trace-bin", b"a*b=")], "trace-bin"),
            (&[("trace-bin", b"AAAA,*")], "trace-bin"),
            (&[("cellmesh-user", b"a"), ("cellmesh-user", b"a")], "cellmesh-user"),
            (&[("cellmesh-user", b"a"), ("cellmesh-user-bin", b"YQ")], "cellmesh-user"),
        ] {
            let error = check(&headers(pairs)).unwrap_err();
            assert_eq!(error.code(), tonic::Code::InvalidArgument);
            assert!(error.to_string().contains(name), "{error}");
        }
    }

    #[test]
    fn well_formed_metadata_passes() {
        let long = BASE64.encode([7; 4000]);
        let map = headers(&[("a-bin", b"YQ"), ("a-bin", b"YQ==, YWI="), ("b-bin", long.as_bytes()), ("c", b"~ !")]);
        check(&map).unwrap();
    }

    #[test]
    fn text_and_bytes_are_one_user() {
        let text = user(&headers(&[("cellmesh-user", b"ab")])).unwrap();
        let bytes = user(&headers(&[("cellmesh-user-bin", b"YWI")])).unwrap();
        assert_eq!(text, bytes);
        assert!(text.is_some());
        assert!(user(&headers(&[("cellmesh-user", b"0")])).is_err());
        assert!(user(&headers(&[("cellmesh-user", b"")])).is_err());
    }

    #[test]
    fn a_key_in_metadata_is_read_as_written() {
        for (key, name) in [
            (&b"7"[..], USER),
            (b"a b", USER),
            (b" a", USER_BIN),
            (b"a\n", USER_BIN),
            ("ü".as_bytes(), USER_BIN),
            (&[0xff, 0], USER_BIN),
        ] {
            let (header, value) = user_value(key);
            assert_eq!(header, name, "{key:?}");
            let map = HeaderMap::from_iter([(header, value)]);
            check(&map).unwrap();
            assert_eq!(user_bytes(&map).unwrap().as_deref(), Some(key));
        }
    }

    #[test]
    fn numbers_are_strict() {
        assert_eq!(hops(&headers(&[("cellmesh-hops", b"1")])).unwrap(), Some(1));
        for value in ["", "+1", "-1", "1 ", "0x1", "256", "18446744073709551616"] {
            assert!(hops(&headers(&[("cellmesh-hops", value.as_bytes())])).is_err(), "{value:?}");
        }
        let top = map_epoch(&headers(&[("cellmesh-map-epoch", b"18446744073709551615")])).unwrap();
        assert_eq!(top, Some(MapEpoch::new(u64::MAX)));
    }
}
