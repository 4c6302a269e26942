//! Versions of a database's tables: which ones this server may use.
//!
//! Not for making tables (each backend has its own steps). It keeps true that tables which are newer than we know are used only
//! where those who made them said that older servers may: so a neighbouring version can start while others are upgraded.

use crate::{Place, StoreError};

/// What a database says of its tables.
#[derive(Debug, Default)]
pub(crate) struct Told {
    /// The version of the tables (`schema` in `meta`).
    pub(crate) schema: Option<String>,
    /// The oldest version whose servers may use them (`compatible` in `meta`).
    pub(crate) compatible: Option<String>,
}

impl Told {
    /// The version of the tables, for a server that knows them up to this one.
    pub(crate) fn judge(&self, place: &Place, known: u32) -> Result<u32, StoreError> {
        let number = |text: &Option<String>| text.as_ref().and_then(|text| text.parse::<u32>().ok());
        let detail = "its schema version is missing or no number".to_owned();
        let damaged = || StoreError::Damaged { place: place.clone(), detail };
        let found = number(&self.schema).ok_or_else(damaged)?;
        if found > known && number(&self.compatible).unwrap_or(found) > known {
            return Err(StoreError::Newer { place: place.clone(), found, known });
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(schema: Option<&str>, compatible: Option<&str>) -> Result<u32, StoreError> {
        let told = Told { schema: schema.map(str::to_owned), compatible: compatible.map(str::to_owned) };
        told.judge(&Place::named("x"), 2)
    }

    #[test]
    fn older_and_equal_versions_are_used_and_newer_ones_where_they_say_so() {
        assert_eq!(judge(Some("1"), None), Ok(1));
        assert_eq!(judge(Some("2"), Some("2")), Ok(2));
        assert_eq!(judge(Some("3"), Some("2")), Ok(3));
        for compatible in [None, Some("3"), Some("words")] {
            assert!(matches!(
                judge(Some("3"), compatible),
                Err(StoreError::Newer { found: 3, known: 2, .. })
            ));
        }
        assert!(matches!(judge(None, None), Err(StoreError::Damaged { .. })));
        assert!(matches!(judge(Some("two"), None), Err(StoreError::Damaged { .. })));
    }
}
