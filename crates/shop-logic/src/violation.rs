//! All faults of one request.

use crate::InvalidError;
use std::{fmt, vec};

/// Collects the faults of a request, so that the caller sees all of them at once: for each the path of its field, like
/// `lines[0].sku`, and what is wrong and what is allowed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Violations(Vec<(String, String)>);

impl Violations {
    /// Most faults told in one answer.
    const MAX: usize = 20;

    /// None yet.
    #[must_use]
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// Makes of an error the one fault of a request: for `map_err`.
    pub fn of<E: fmt::Display>(field: &'static str) -> impl FnOnce(E) -> Self {
        move |error| Self(vec![(field.to_owned(), error.to_string())])
    }

    /// The value, or `None` after noting what is wrong with the field.
    pub fn take<T>(&mut self, field: impl Into<String>, checked: Result<T, impl fmt::Display>) -> Option<T> {
        checked.map_err(|error| self.note(field, &error)).ok()
    }

    /// The values of a list of 1 to `max` texts, or `None` after noting what is wrong with it or with its entries, each by
    /// its own path. Counted first: a request may hold very many.
    pub fn each<'t, T, E: fmt::Display>(
        &mut self,
        field: &str,
        texts: &'t [String],
        max: usize,
        check: impl Fn(&'t str) -> Result<T, E>,
    ) -> Option<Vec<T>> {
        self.take(field, InvalidError::count(texts.len(), max))?;
        let each = texts.iter().enumerate();
        let each: Vec<_> = each.map(|(at, text)| self.take(format!("{field}[{at}]"), check(text))).collect();
        each.into_iter().collect()
    }

    /// Notes that something is wrong with a field.
    pub fn note(&mut self, field: impl Into<String>, description: &dyn fmt::Display) {
        if self.0.len() < Self::MAX {
            self.0.push((field.into(), description.to_string()));
        }
    }

    /// The request's parts if all were taken.
    ///
    /// # Errors
    /// The violations, if there is any.
    pub fn finish<T>(self, parts: Option<T>) -> Result<T, Self> {
        match parts {
            Some(parts) if self.0.is_empty() => Ok(parts),
            _ => Err(self),
        }
    }
}

impl IntoIterator for Violations {
    type Item = (String, String);
    type IntoIter = vec::IntoIter<Self::Item>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl fmt::Display for Violations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (field, description)) in self.0.iter().enumerate() {
            write!(f, "{}{field} {description}", if at == 0 { "" } else { "; " })?;
        }
        Ok(())
    }
}

impl std::error::Error for Violations {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Quantity, Sku};

    #[test]
    fn all_faults_are_told_at_once() {
        let mut violations = Violations::new();
        let sku = violations.take("lines[0].sku", Sku::new("A"));
        let quantity = violations.take("lines[0].quantity", Quantity::new(0));
        let refused = violations.finish(sku.zip(quantity)).expect_err("both are wrong");
        assert_eq!(
            refused.to_string(),
            "lines[0].sku contains 'A', allowed are a-z, 0-9 and '-'; lines[0].quantity is 0, allowed are 1 to 1000"
        );
    }
}
