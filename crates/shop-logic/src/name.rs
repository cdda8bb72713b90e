//! Names, titles and ids: what is allowed in them. Each is a type whose constructor says no.

use std::{fmt, ops::RangeInclusive, sync::Arc};

/// Why a value is refused. Reads after the field's name: "`lines[0].sku` has 70 bytes, at most 64 are allowed".
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidError {
    /// Not set.
    #[error("is missing")]
    Missing,
    /// Too long.
    #[error("has {len} {unit}, at most {max} are allowed")]
    TooLong {
        /// How long it is.
        len: usize,
        /// What was counted: bytes, characters or entries.
        unit: &'static str,
        /// How long it may be.
        max: usize,
    },
    /// Too short, but not missing.
    #[error("has {len} {unit}, at least {min} are needed")]
    TooShort {
        /// How long it is.
        len: usize,
        /// What was counted.
        unit: &'static str,
        /// How long it must be.
        min: usize,
    },
    /// A character that may not stand there.
    #[error("contains {found:?}, allowed are {allowed}")]
    Character {
        /// The first such character.
        found: char,
        /// What is allowed.
        allowed: &'static str,
    },
    /// A number out of range.
    #[error("is {value}, allowed are {min} to {max}")]
    Range {
        /// The number.
        value: i64,
        /// Smallest allowed.
        min: i64,
        /// Largest allowed.
        max: i64,
    },
    /// Not an ISO 4217 currency.
    #[error("\"{0}\" is not an active ISO 4217 currency code")]
    Currency(String),
    /// Another currency than the one this field takes.
    #[error("is in {found}, allowed is {allowed}")]
    OtherCurrency {
        /// The currency given.
        found: &'static str,
        /// The currency taken.
        allowed: &'static str,
    },
    /// The same entry twice.
    #[error("repeats \"{0}\"")]
    Repeated(String),
}

impl InvalidError {
    /// Checks that a number is in range.
    ///
    /// # Errors
    /// If it is not.
    pub fn range(value: i64, allowed: RangeInclusive<i64>) -> Result<i64, Self> {
        let (min, max) = allowed.into_inner();
        if (min..=max).contains(&value) { Ok(value) } else { Err(Self::Range { value, min, max }) }
    }

    /// Checks how many entries a list has.
    ///
    /// # Errors
    /// If it is empty or longer than `max`.
    pub fn count(len: usize, max: usize) -> Result<usize, Self> {
        match len {
            0 => Err(Self::Missing),
            _ if len > max => Err(Self::TooLong { len, unit: "entries", max }),
            _ => Ok(len),
        }
    }
}

/// What a kind of name allows.
struct Rule {
    min: usize,
    max: usize,
    /// Whether `max` counts characters; bytes otherwise.
    in_chars: bool,
    allowed: &'static str,
    accepts: fn(char) -> bool,
}

impl Rule {
    fn check(&self, value: &str) -> Result<Arc<str>, InvalidError> {
        let (len, unit) = if self.in_chars { (value.chars().count(), "characters") } else { (value.len(), "bytes") };
        if len < self.min {
            let too_short = InvalidError::TooShort { len, unit, min: self.min };
            return Err(if len == 0 { InvalidError::Missing } else { too_short });
        }
        if len > self.max {
            return Err(InvalidError::TooLong { len, unit, max: self.max });
        }
        match value.chars().find(|&c| !(self.accepts)(c)) {
            Some(found) => Err(InvalidError::Character { found, allowed: self.allowed }),
            None => Ok(value.into()),
        }
    }
}

const fn is_slug(c: char) -> bool {
    matches!(c, 'a'..='z' | '0'..='9' | '-')
}

const fn is_code(c: char) -> bool {
    matches!(c, 'A'..='Z' | '0'..='9' | '-')
}

const fn is_dotted(c: char) -> bool {
    matches!(c, 'a'..='z' | '0'..='9' | '-' | '_' | '.')
}

const fn is_graphic(c: char) -> bool {
    c.is_ascii_graphic()
}

/// Control characters break logs and terminals; direction overrides make one text look like another.
fn is_text(c: char) -> bool {
    !c.is_control() && !matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{2028}' | '\u{2029}')
}

const SLUG: &str = "a-z, 0-9 and '-'";
const TEXT: &str = "all but control characters and direction overrides";

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $rule:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// A checked value.
            ///
            /// # Errors
            /// If it breaks the rule of the type.
            pub fn new(value: &str) -> Result<Self, InvalidError> {
                const RULE: Rule = $rule;
                RULE.check(value).map(Self)
            }

            /// The text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
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

name!(
    /// A stock keeping unit, a product's id: 1 to 64 of a-z, 0-9 and '-'. Cheap to clone.
    Sku,
    Rule { min: 1, max: 64, in_chars: false, allowed: SLUG, accepts: is_slug }
);
name!(
    /// An id that a service made, like an order's: 1 to 64 of a-z, 0-9 and '-'.
    OpaqueId,
    Rule { min: 1, max: 64, in_chars: false, allowed: SLUG, accepts: is_slug }
);
name!(
    /// A campaign's id: 1 to 64 of a-z, 0-9 and '-'. Cheap to clone.
    CampaignId,
    Rule { min: 1, max: 64, in_chars: false, allowed: SLUG, accepts: is_slug }
);
name!(
    /// A coupon's code as its users type it: 4 to 32 of A-Z, 0-9 and '-'.
    CouponCode,
    Rule { min: 4, max: 32, in_chars: false, allowed: "A-Z, 0-9 and '-'", accepts: is_code }
);
name!(
    /// A user's id in the shop's messages: 1 to 256 bytes of text. Whether it is a user key, `cell-map` says.
    UserId,
    Rule { min: 1, max: 256, in_chars: false, allowed: TEXT, accepts: is_text }
);
name!(
    /// A caller's id for one request or event: 1 to 255 bytes of printable ASCII without space, so that two ids which
    /// look alike are alike.
    RequestId,
    Rule { min: 1, max: 255, in_chars: false, allowed: "printable ASCII without space", accepts: is_graphic }
);
name!(
    /// A member's name as others see it: at most 100 characters, may be empty.
    DisplayName,
    Rule { min: 0, max: 100, in_chars: true, allowed: TEXT, accepts: is_text }
);
name!(
    /// A product's or campaign's title: 1 to 200 characters.
    Title,
    Rule { min: 1, max: 200, in_chars: true, allowed: TEXT, accepts: is_text }
);
name!(
    /// A kind of event, like `order.placed`: 1 to 64 of a-z, 0-9, '-', '_' and '.'.
    EventKind,
    Rule { min: 1, max: 64, in_chars: false, allowed: "a-z, 0-9, '-', '_' and '.'", accepts: is_dotted }
);
name!(
    /// What an event is about, like an order's id: at most 255 bytes, may be empty.
    Subject,
    Rule { min: 0, max: 255, in_chars: false, allowed: TEXT, accepts: is_text }
);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn hostile_ids_are_refused() {
        let long = "a".repeat(4096);
        for bad in ["", "\0", "a\0b", "' OR 1=1 --", "%", "а" /* Cyrillic */, "A", "a b", &long] {
            assert!(Sku::new(bad).is_err(), "{bad:?} as a SKU");
            assert!(OpaqueId::new(bad).is_err(), "{bad:?} as an id");
        }
        for bad in ["", "a\0", "a b", "é", "a\n", &long, &"a".repeat(256)] {
            assert!(RequestId::new(bad).is_err(), "{bad:?} as a request id");
        }
        assert!(RequestId::new(&"~".repeat(255)).is_ok());
        for bad in ["", "ABC", "welcome-10", "A B C", "AB\0CD", &"A".repeat(33)] {
            assert!(CouponCode::new(bad).is_err(), "{bad:?} as a code");
        }
        assert_eq!(CouponCode::new("ABC"), Err(InvalidError::TooShort { len: 3, unit: "bytes", min: 4 }));
        assert!(CouponCode::new("WELCOME-10").is_ok());
    }

    #[test]
    fn names_count_characters_and_refuse_controls() {
        assert!(DisplayName::new("").is_ok());
        assert!(DisplayName::new(&"名".repeat(100)).is_ok());
        assert!(DisplayName::new(&"名".repeat(101)).is_err());
        assert!(DisplayName::new("a\r\nb").is_err());
        assert!(DisplayName::new("a\u{202e}b").is_err());
        assert_eq!(Title::new(""), Err(InvalidError::Missing));
    }

    proptest! {
        #[test]
        fn accepted_ids_are_what_the_rule_says(text in "\\PC{0,80}") {
            let allowed = (1..=64).contains(&text.len()) && text.chars().all(is_slug);
            prop_assert_eq!(Sku::new(&text).is_ok(), allowed);
        }
    }
}
