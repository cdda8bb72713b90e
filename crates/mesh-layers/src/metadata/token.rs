//! The value of `cellmesh-token`.

use cell_map::CellId;
use http::HeaderValue;
use std::{fmt, str::FromStr};

/// Where a user's data stood when a call was answered (OWN-15): after the write it made, or in the snapshot it read.
/// Opaque but for its order; it says nothing about other users.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Token {
    /// The cell that answered.
    pub cell: CellId,
    /// The owner's epoch.
    pub user_epoch: u64,
    /// Position of the user's data, counted up by each write and carried along by moves.
    pub position: u64,
}

/// A text that is no token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a token is cell;user_epoch;position, like \"bj-1;0;42\"")]
pub struct ParseTokenError;

impl Token {
    /// A token, for services' answers and tests.
    #[must_use]
    pub fn new(cell: CellId, user_epoch: u64, position: u64) -> Self {
        Self { cell, user_epoch, position }
    }

    /// Whether data at (user epoch, position) shows what this token's write did: the epoch decides, within one the
    /// position. A move carries positions along.
    #[must_use]
    pub fn is_met_by(&self, user_epoch: u64, position: u64) -> bool {
        (user_epoch, position) >= (self.user_epoch, self.position)
    }

    /// The later of two tokens of one user.
    #[must_use]
    pub fn later(self, other: Self) -> Self {
        if self.is_met_by(other.user_epoch, other.position) { other } else { self }
    }

    /// As metadata.
    #[must_use]
    pub fn header(&self) -> HeaderValue {
        HeaderValue::from_str(&self.to_string()).expect("a cell's name is a DNS label")
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{};{};{}", self.cell, self.user_epoch, self.position)
    }
}

impl FromStr for Token {
    type Err = ParseTokenError;

    fn from_str(text: &str) -> Result<Self, ParseTokenError> {
        let mut parts = text.split(';');
        let (Some(cell), Some(epoch), Some(position), None) = (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(ParseTokenError);
        };
        let number = |text: &str| match text.bytes().all(|b| b.is_ascii_digit()) {
            true => text.parse().map_err(|_| ParseTokenError),
            false => Err(ParseTokenError),
        };
        let cell = CellId::new(cell).map_err(|_| ParseTokenError)?;
        Ok(Self { cell, user_epoch: number(epoch)?, position: number(position)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_read_as_written_and_nothing_else_is() {
        let token: Token = "bj-1;3;42".parse().unwrap();
        assert_eq!(token.to_string(), "bj-1;3;42");
        assert_eq!(token.header(), "bj-1;3;42");
        for text in ["", "bj-1", "bj-1;3", "bj-1;3;42;", "bj-1;+3;42", "BJ;1;1", "bj-1;3;18446744073709551616"] {
            assert!(text.parse::<Token>().is_err(), "{text}");
        }
    }

    #[test]
    fn the_epoch_decides_before_the_position() {
        let token: Token = "bj-1;3;42".parse().unwrap();
        assert!(token.is_met_by(3, 42) && token.is_met_by(4, 1));
        assert!(!token.is_met_by(3, 41) && !token.is_met_by(2, 99));
        let later = token.clone().later("sh-1;4;1".parse().unwrap());
        assert_eq!((later.user_epoch, later.clone().later(token).position), (4, 1));
    }
}
