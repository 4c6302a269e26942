//! `netloom client config` and `qr`: the configuration of a client that is there already.
//!
//! The server does not know the private key: it is read from a file, and put in here.

use std::path::PathBuf;

use api::{notes_of, path};
use clap::Args;
use serde_json::json;

use super::Place;
use super::hand_over::{Destination, tell};
use crate::client::Client;
use crate::console::{Console, meaning};
use crate::failure::Failure;
use crate::private_file::PrivateFile;
use crate::private_key::PrivateKey;
use crate::render::printable;

/// Which client, by which gateway, and where the configuration goes.
#[derive(Debug, Args)]
pub struct Config {
    #[command(flatten)]
    place: Place,
    /// One of its gateways; without it the first
    #[arg(long, value_name = "HOST")]
    gateway: Option<String>,
    /// A file with the private key, alone or in a configuration; - for standard input. Without it a comment stands in its
    /// place
    #[arg(long, value_name = "FILE")]
    private_key_file: Option<String>,
    /// Save it into this file, which must not exist yet
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// Which client, by which gateway, and where the QR code goes.
#[derive(Debug, Args)]
pub struct Qr {
    #[command(flatten)]
    place: Place,
    /// One of its gateways; without it the first
    #[arg(long, value_name = "HOST")]
    gateway: Option<String>,
    /// A file with the private key, alone or in a configuration; - for standard input. No app takes a code without it
    #[arg(long, value_name = "FILE")]
    private_key_file: String,
    /// Save it into this PNG file, which must not exist yet, instead of showing it
    #[arg(long, value_name = "FILE")]
    png: Option<PathBuf>,
    /// Save it into this SVG file, which must not exist yet, instead of showing it
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
}

impl Config {
    pub(super) async fn run(self, client: &Client, console: &mut Console) -> Result<(), Failure> {
        let file = self.output.as_deref().map(PrivateFile::new).transpose()?;
        let config = fetch(client, console, &self.place, self.gateway, self.private_key_file).await?;
        let Some(mut file) = file else {
            if console.global.json {
                return console.show_json(&json!({ "config": config }));
            }
            let lines: Vec<String> = config.lines().map(printable).collect();
            return console.terminal.print(&lines.join("\n"));
        };
        file.write(config.as_bytes())?;
        let name = file.target().display().to_string();
        file.publish()?;
        tell(&notes_of(&config), console);
        console.done(&json!({ "files": [name] }), &format!("Saved into {name}."))
    }
}

impl Qr {
    pub(super) async fn run(self, client: &Client, console: &mut Console) -> Result<(), Failure> {
        let Self { place, gateway, private_key_file, png, svg } = self;
        let open = Destination::of_code(png, svg).open(console)?;
        let config = fetch(client, console, &place, gateway, Some(private_key_file)).await?;
        let files = open.put(&config, console)?;
        tell(&notes_of(&config), console);
        if console.global.json {
            return console.show_json(&json!({ "files": files }));
        }
        files.iter().try_for_each(|file| console.terminal.print(&format!("Saved into {file}.")))
    }
}

/// The configuration, with the private key in it if there is one.
async fn fetch(
    client: &Client,
    console: &mut Console,
    place: &Place,
    gateway: Option<String>,
    private_key_file: Option<String>,
) -> Result<String, Failure> {
    let key = private_key_file.map(|file| private_key(console, &file)).transpose()?;
    if let Some(key) = &key {
        let known: api::Client = meaning(&client.get(&place.path(), &[]).await?)?;
        if known.public_key != key.public() {
            return Err(Failure::Usage(format!(
                "that private key is not the one of client `{}`, whose public key is {}",
                known.name, known.public_key
            )));
        }
    }
    let mut query = vec![("format", "conf".to_owned())];
    query.extend(gateway.map(|gateway| ("gateway", gateway)));
    let config = client.text(&place.fill(path::CLIENT_CONFIG), &query).await?;
    Ok(key.map_or(config.clone(), |key| key.put_into(&config)))
}

fn private_key(console: &mut Console, file: &str) -> Result<PrivateKey, Failure> {
    let text = api::Secret::from(console.file(file)?);
    PrivateKey::find(text.expose()).ok_or_else(|| {
        Failure::Usage(format!(
            "there is no WireGuard private key in {file}: neither alone on the first line nor as PrivateKey of a configuration"
        ))
    })
}
