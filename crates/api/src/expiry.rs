//! When something ends: given as a moment or as seconds from now, never both.

use std::time::Duration;

use model::Timestamp;

use crate::{Edit, FieldError};

/// The longest span that can be given: ten years.
pub const MOST_SECONDS: u64 = 10 * 366 * 86_400;

/// Why an expiry cannot be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ExpiryError {
    /// Both forms at once.
    #[error("give either `expires` or `expires_in`, not both")]
    Both,
    /// It would be over at once.
    #[error("the expiry {0} is not in the future")]
    Past(Timestamp),
    /// Nothing, or more than ten years.
    #[error("`expires_in` is {0} seconds; allowed are 1 to {MOST_SECONDS}")]
    Span(u64),
}

/// The moment that `expires` or `expires_in` (seconds) names; none when neither is given.
pub fn expiry(
    expires: Option<Timestamp>,
    expires_in: Option<u64>,
    now: Timestamp,
) -> Result<Option<Timestamp>, ExpiryError> {
    match (expires, expires_in) {
        (Some(_), Some(_)) => Err(ExpiryError::Both),
        (Some(moment), None) if moment <= now => Err(ExpiryError::Past(moment)),
        (Some(moment), None) => Ok(Some(moment)),
        (None, Some(seconds)) if !(1..=MOST_SECONDS).contains(&seconds) => Err(ExpiryError::Span(seconds)),
        (None, Some(seconds)) => Ok(Some(now + Duration::from_secs(seconds))),
        (None, None) => Ok(None),
    }
}

/// The change of an expiry: `expires` keeps, clears or sets it, `expires_in` (seconds from now) sets it.
pub fn expiry_edit(
    expires: Edit<Timestamp>,
    expires_in: Option<u64>,
    now: Timestamp,
) -> Result<Edit<Timestamp>, ExpiryError> {
    let moment = match (expires, expires_in) {
        (Edit::Keep, None) => return Ok(Edit::Keep),
        (Edit::Clear, None) => return Ok(Edit::Clear),
        (Edit::Clear, Some(_)) => return Err(ExpiryError::Both),
        (Edit::Keep, Some(_)) => None,
        (Edit::Set(moment), _) => Some(moment),
    };
    Ok(expiry(moment, expires_in, now)?.map_or(Edit::Keep, Edit::Set))
}

impl From<ExpiryError> for FieldError {
    fn from(error: ExpiryError) -> Self {
        let field = match error {
            ExpiryError::Both | ExpiryError::Past(_) => "expires",
            ExpiryError::Span(_) => "expires_in",
        };
        Self { field: field.to_owned(), message: error.to_string() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn either_form_names_a_moment_in_the_future() {
        let (now, later) = (Timestamp::from_millis(5_000), Timestamp::from_millis(6_000));
        assert_eq!(expiry(None, None, now), Ok(None));
        assert_eq!(expiry(None, Some(1), now), Ok(Some(later)));
        assert_eq!(expiry(Some(later), None, now), Ok(Some(later)));
        assert_eq!(expiry(Some(now), None, now), Err(ExpiryError::Past(now)));
        assert_eq!(expiry(None, Some(0), now), Err(ExpiryError::Span(0)));
        assert_eq!(expiry(Some(later), Some(1), now), Err(ExpiryError::Both));
    }

    #[test]
    fn an_expiry_is_kept_cleared_or_set_in_either_form() {
        let (now, later) = (Timestamp::from_millis(5_000), Timestamp::from_millis(6_000));
        assert_eq!(expiry_edit(Edit::Keep, None, now), Ok(Edit::Keep));
        assert_eq!(expiry_edit(Edit::Clear, None, now), Ok(Edit::Clear));
        assert_eq!(expiry_edit(Edit::Keep, Some(1), now), Ok(Edit::Set(later)));
        assert_eq!(expiry_edit(Edit::Set(later), None, now), Ok(Edit::Set(later)));
        assert_eq!(expiry_edit(Edit::Set(now), None, now), Err(ExpiryError::Past(now)));
        for both in [Edit::Clear, Edit::Set(later)] {
            assert_eq!(expiry_edit(both, Some(1), now), Err(ExpiryError::Both));
        }
    }
}
