//! `grpc-timeout`: 1 to 8 digits and a unit (gRPC over HTTP/2, "Timeout").

use crate::{error::MeshError, metadata::GRPC_TIMEOUT};
use http::{HeaderMap, HeaderValue};
use std::time::Duration;

/// Most that 8 digits hold, plus one.
const LIMIT: u128 = 100_000_000;

/// Why a value is no timeout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TimeoutError {
    /// No digit, a stray byte, or more than eight digits.
    #[error("grpc-timeout is not 1 to 8 digits and one of H, M, S, m, u, n")]
    Malformed,
    /// More than one header.
    #[error("grpc-timeout is given more than once")]
    Repeated,
}

impl From<TimeoutError> for MeshError {
    fn from(error: TimeoutError) -> Self {
        Self::bad_request(error.to_string()).violation(GRPC_TIMEOUT.as_str(), &error.to_string())
    }
}

/// The duration of a header value. Zero is a value: the call is too late already.
///
/// # Errors
/// On anything but 1 to 8 digits and a unit.
pub fn parse(value: &[u8]) -> Result<Duration, TimeoutError> {
    let Some((unit, digits)) = value.split_last() else { return Err(TimeoutError::Malformed) };
    if !(1..=8).contains(&digits.len()) || !digits.iter().all(u8::is_ascii_digit) {
        return Err(TimeoutError::Malformed);
    }
    let number = digits.iter().fold(0, |n, digit| n * 10 + u64::from(digit - b'0'));
    Ok(match unit {
        b'H' => Duration::from_secs(number * 3600),
        b'M' => Duration::from_secs(number * 60),
        b'S' => Duration::from_secs(number),
        b'm' => Duration::from_millis(number),
        b'u' => Duration::from_micros(number),
        b'n' => Duration::from_nanos(number),
        _ => return Err(TimeoutError::Malformed),
    })
}

/// The caller's timeout, if given.
///
/// # Errors
/// If malformed or given more than once.
pub fn of(headers: &HeaderMap) -> Result<Option<Duration>, TimeoutError> {
    let mut values = headers.get_all(&GRPC_TIMEOUT).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => parse(value.as_bytes()).map(Some),
        (Some(_), Some(_)) => Err(TimeoutError::Repeated),
    }
}

/// What a call gets: what it asked for, or the default; never more than the maximum.
#[must_use]
pub fn granted(asked: Option<Duration>, default: Duration, max: Duration) -> Duration {
    asked.unwrap_or(default).min(max)
}

/// The value that says this duration, rounded down, in the finest unit that fits eight digits.
#[must_use]
pub fn format(timeout: Duration) -> HeaderValue {
    let nanos = timeout.as_nanos();
    let units = [(1, 'n'), (1_000, 'u'), (1_000_000, 'm'), (1_000_000_000, 'S'), (60_000_000_000, 'M')];
    let (number, unit) = units
        .into_iter()
        .map(|(size, unit)| (nanos / size, unit))
        .find(|(number, _)| *number < LIMIT)
        .unwrap_or(((nanos / 3_600_000_000_000).min(LIMIT - 1), 'H'));
    HeaderValue::try_from(format!("{number}{unit}")).expect("digits and a letter are a header value")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_unit_is_read() {
        for (value, expected) in [
            ("1H", Duration::from_secs(3600)),
            ("2M", Duration::from_secs(120)),
            ("3S", Duration::from_secs(3)),
            ("4m", Duration::from_millis(4)),
            ("5u", Duration::from_micros(5)),
            ("6n", Duration::from_nanos(6)),
            ("0S", Duration::ZERO),
            ("99999999H", Duration::from_secs(99_999_999 * 3600)),
        ] {
            assert_eq!(parse(value.as_bytes()), Ok(expected), "{value}");
        }
    }

    #[test]
    fn malformed_values_are_refused() {
        for value in ["", "m", "1", "1x", "123456789m", "-1m", "+1m", "1.5S", " 1m", "1 m", "1mm", "１m"] {
            assert_eq!(parse(value.as_bytes()), Err(TimeoutError::Malformed), "{value:?}");
        }
        let mut twice = HeaderMap::new();
        twice.append(GRPC_TIMEOUT, HeaderValue::from_static("1S"));
        twice.append(GRPC_TIMEOUT, HeaderValue::from_static("1S"));
        assert_eq!(of(&twice), Err(TimeoutError::Repeated));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_and_never_longer(nanos in any::<u64>(), seconds in 0..u64::from(u32::MAX)) {
            for timeout in [Duration::from_nanos(nanos), Duration::from_secs(seconds)] {
                let read = parse(format(timeout).as_bytes()).unwrap();
                prop_assert!(read <= timeout);
                prop_assert!(timeout - read <= timeout / 1_000_000 + Duration::from_nanos(1));
            }
        }

        #[test]
        fn hostile_bytes_never_panic(value in proptest::collection::vec(any::<u8>(), 0..20)) {
            let _ = parse(&value);
        }
    }
}
