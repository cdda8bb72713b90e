//! Keyset paging with sealed page tokens (AIP-158).
//!
//! A token holds the position after which the next page begins, in the order of the list, never an offset: rows that
//! come and go meanwhile neither repeat nor hide others. It opens only for the method, the user and the filter it was
//! made for.

use crate::{SealError, SealKeys};
use cell_map::UserKey;
use serde::{Serialize, de::DeserializeOwned};

const PURPOSE: &str = "cellmesh.page.v1";

/// Why a page cannot be given; the caller's fault (gRPC `INVALID_ARGUMENT`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PageError {
    /// AIP-158 forbids negative sizes.
    #[error("page_size is {0}, 0 or more is allowed")]
    NegativeSize(i32),
    /// The token does not open for this call.
    #[error("page_token: {0}")]
    Token(#[from] SealError),
}

/// What a page token is bound to.
#[derive(Clone, Copy, Debug)]
pub struct PageScope<'a> {
    /// The method's path, like `/shop.trade.v1.TradeService/ListOrders`.
    pub method: &'a str,
    /// Whose list it is; none for a global one.
    pub user: Option<&'a UserKey>,
    /// The request's other parameters that shape the list, encoded; empty if it has none.
    pub filter: &'a [u8],
}

impl PageScope<'_> {
    fn context(&self) -> [&[u8]; 3] {
        // A user key is never empty, so an empty part is nobody's.
        [self.method.as_bytes(), self.user.map_or(&[], UserKey::as_bytes), self.filter]
    }

    /// The token of the page after `position`.
    #[must_use]
    pub fn seal(&self, keys: &SealKeys, position: &impl Serialize) -> String {
        let position = serde_json::to_vec(position).expect("positions are plain numbers and texts");
        keys.seal(PURPOSE, &self.context(), &position)
    }

    /// The position in a request's `page_token`; none for the first page (an empty token).
    ///
    /// # Errors
    /// If the token is not one of this list.
    pub fn open<P: DeserializeOwned>(&self, keys: &SealKeys, token: &str) -> Result<Option<P>, PageError> {
        if token.is_empty() {
            return Ok(None);
        }
        let position = keys.open(PURPOSE, &self.context(), token)?;
        // Sealed by us, but perhaps by an older version with another kind of position.
        serde_json::from_slice(&position).map(Some).map_err(|_| SealError::Malformed.into())
    }
}

/// How many items a page may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageSize(u32);

impl PageSize {
    /// From a request's `page_size`: 0 gives the default, more than the maximum gives the maximum (AIP-158).
    ///
    /// # Errors
    /// If negative.
    pub fn from_request(page_size: i32, default: u32, max: u32) -> Result<Self, PageError> {
        match u32::try_from(page_size) {
            Err(_) => Err(PageError::NegativeSize(page_size)),
            Ok(0) => Ok(Self(default.clamp(1, max.max(1)))),
            Ok(size) => Ok(Self(size.min(max.max(1)))),
        }
    }

    /// The size.
    #[must_use]
    pub fn get(self) -> u32 {
        self.0
    }

    /// What to LIMIT the query to: one more than the page, to see whether another follows.
    #[must_use]
    pub fn limit(self) -> i64 {
        i64::from(self.0) + 1
    }

    /// Cuts the rows of such a query to the page, and gives the position after which the next begins, if there is one.
    pub fn cut<T, P>(self, mut rows: Vec<T>, position: impl FnOnce(&T) -> P) -> (Vec<T>, Option<P>) {
        let size = self.0 as usize;
        if rows.len() <= size {
            return (rows, None);
        }
        rows.truncate(size);
        let next = rows.last().map(position);
        (rows, next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SealKey;

    fn keys() -> SealKeys {
        SealKeys::new(&[SealKey { id: 1, secret: [1; 32] }]).expect("one key")
    }

    #[test]
    fn a_token_is_bound_to_method_user_and_filter() {
        let (ann, bob) = (UserKey::from_text("ann").expect("a key"), UserKey::from_text("bob").expect("a key"));
        let scope = PageScope { method: "/a.B/List", user: Some(&ann), filter: b"" };
        let token = scope.seal(&keys(), &(7_i64, "x"));
        assert_eq!(scope.open::<(i64, String)>(&keys(), &token), Ok(Some((7, "x".to_owned()))));
        let invalid = Err(PageError::Token(SealError::Invalid));
        for other in [
            PageScope { method: "/a.B/Other", ..scope },
            PageScope { user: Some(&bob), ..scope },
            PageScope { user: None, ..scope },
            PageScope { filter: b"state=paid", ..scope },
        ] {
            assert_eq!(other.open::<(i64, String)>(&keys(), &token), invalid, "{other:?}");
        }
        assert_eq!(scope.open::<(i64, String)>(&keys(), ""), Ok(None), "no token means the first page");
        assert_eq!(scope.open::<String>(&keys(), &token), Err(SealError::Malformed.into()));
    }

    #[test]
    fn sizes_follow_aip_158() {
        let size = |n| PageSize::from_request(n, 20, 100).map(PageSize::get);
        assert_eq!(size(0), Ok(20));
        assert_eq!(size(1), Ok(1));
        assert_eq!(size(100_000), Ok(100));
        assert_eq!(size(-1), Err(PageError::NegativeSize(-1)));
    }

    #[test]
    fn the_last_page_has_no_successor() {
        let size = PageSize::from_request(2, 20, 100).expect("positive");
        assert_eq!(size.limit(), 3);
        assert_eq!(size.cut(vec![1, 2, 3], |n| *n), (vec![1, 2], Some(2)));
        assert_eq!(size.cut(vec![1, 2], |n| *n), (vec![1, 2], None));
        assert_eq!(size.cut(vec![], |n: &i32| *n), (vec![], None));
    }
}
