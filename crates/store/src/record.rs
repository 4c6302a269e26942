//! Records as a database keeps them: kind, id and JSON, all text.

use control::{Kind, Record, RecordKey};

use crate::{Place, StoreError};

/// A record's value as JSON.
pub(crate) fn to_json(record: &Record) -> String {
    serde_json::to_string(record).expect("records have text keys and no maps that JSON cannot hold")
}

/// The record that this row holds.
pub(crate) fn from_row(place: &Place, kind: &str, id: &str, json: &str) -> Result<Record, StoreError> {
    let unreadable =
        |detail: String| StoreError::Record { place: place.clone(), key: format!("{kind}/{id}"), detail };
    let key = key_of(kind, id).map_err(unreadable)?;
    let mut from = serde_json::Deserializer::from_str(json);
    let record =
        Record::deserialize_as(key.kind, &mut from).map_err(|error| unreadable(error.to_string()))?;
    if record.key() != key {
        return Err(unreadable(format!("its value says it is {}", record.key())));
    }
    Ok(record)
}

/// The key that these texts name.
pub(crate) fn key_of(kind: &str, id: &str) -> Result<RecordKey, String> {
    let kind: Kind = kind.parse().map_err(|error: control::UnknownKind| error.to_string())?;
    RecordKey::parse(kind, id).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use model::NetworkId;

    use super::*;

    #[test]
    fn a_row_that_cannot_be_read_is_named() {
        let id = NetworkId::from_bytes([1; 16]).to_string();
        for (kind, json) in [("network", "{}"), ("network", "{"), ("spaceship", "{}")] {
            let error =
                from_row(&Place::from(Path::new("/x/netloom.db")), kind, &id, json).unwrap_err().to_string();
            assert!(error.contains("/x/netloom.db") && error.contains(&format!("{kind}/{id}")), "{error}");
        }
    }
}
