//! `netloom client new-key`.

use api::{CreatedClient, PatchClient, notes_of, path};
use clap::Args;
use serde_json::json;

use super::Place;
use super::create::KeySource;
use super::hand_over::{Destination, HandOver};
use crate::client::Client;
use crate::console::{Console, meaning};
use crate::failure::Failure;

/// Which client, where its new key comes from, and where its configuration goes.
#[derive(Debug, Args)]
pub struct NewKey {
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    source: KeySource,
    #[command(flatten)]
    destination: Destination,
}

impl NewKey {
    pub(super) async fn run(self, client: &Client, console: &mut Console) -> Result<(), Failure> {
        let Self { place, source, destination } = self;
        console.confirm(&format!(
            "replace the key of client `{}`, which is cut off until it has the new one",
            place.client
        ))?;
        let key = source.key()?;
        let open = destination.open(console)?;
        let created = match key.public() {
            None => meaning(&client.post(&place.fill(path::CLIENT_NEW_KEY), &json!({})).await?)?,
            Some(public) => {
                let body = PatchClient { public_key: Some(public), ..PatchClient::default() };
                let changed = meaning(&client.patch(&place.path(), &body).await?)?;
                with_config(client, &place, changed).await
            }
        };
        HandOver::new(created, key)?.to(open, console)
    }
}

/// The same answer that the server gives when it makes the pair. The key is in use already: it is handed over even where the
/// configuration cannot be had.
async fn with_config(client: &Client, place: &Place, changed: api::Client) -> CreatedClient {
    let config = client.text(&place.fill(path::CLIENT_CONFIG), &[("format", "conf".to_owned())]).await;
    let (config, note) = match config {
        Ok(config) => (Some(config), None),
        Err(failure) => (None, Some(failure.to_string())),
    };
    let notes = config.as_deref().map(notes_of).unwrap_or_default();
    CreatedClient { client: changed, private_key: None, config, qr_svg: None, qr_png: None, note, notes }
}
