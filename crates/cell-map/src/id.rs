//! Names of cells and regions.

use std::{fmt, str::FromStr, sync::Arc};

/// A name that is not a DNS label.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} \"{value}\" is not a name: 1 to 63 of a-z, 0-9 and '-', not starting or ending with '-'")]
pub struct IdError {
    what: &'static str,
    value: String,
}

fn check(what: &'static str, value: &str) -> Result<Arc<str>, IdError> {
    let bytes = value.as_bytes();
    let inner = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'-';
    let ends = bytes.first() != Some(&b'-') && bytes.last() != Some(&b'-');
    if (1..=63).contains(&bytes.len()) && bytes.iter().all(inner) && ends {
        Ok(value.into())
    } else {
        Err(IdError { what, value: value.chars().take(80).collect() })
    }
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// A checked name: a DNS label (RFC 1123, lower case).
            ///
            /// # Errors
            /// If it is not one.
            pub fn new(value: &str) -> Result<Self, IdError> {
                check($what, value).map(Self)
            }

            /// The name.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = IdError;
            fn from_str(value: &str) -> Result<Self, IdError> {
                Self::new(value)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", &*self.0)
            }
        }
    };
}

id!(
    /// A cell's name, like `bj-1`. Cheap to clone.
    CellId,
    "cell"
);
id!(
    /// A region's name, like `beijing`. Cheap to clone.
    RegionId,
    "region"
);
