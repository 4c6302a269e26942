//! How a configuration with a private key comes to its owner: into files, onto the screen as a QR code, or as text.
//!
//! It keeps true that files are opened before a key is in use, and that a key which cannot be saved is shown instead: nobody
//! could ever get it again.

use std::path::PathBuf;

use api::{CreatedClient, QrCode, Secret};
use clap::Args;

use super::create::Key;
use super::show;
use crate::console::Console;
use crate::failure::Failure;
use crate::private_file::PrivateFile;
use crate::qr;
use crate::render::printable;

/// Where a configuration goes; nowhere said: it is printed.
#[derive(Debug, Args)]
pub(crate) struct Destination {
    /// Save the configuration into this file, which must not exist yet
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Show it as a QR code on the screen
    #[arg(long)]
    qr: bool,
    /// Save it as a QR code into this PNG file, which must not exist yet
    #[arg(long, value_name = "FILE")]
    png: Option<PathBuf>,
    /// Save it as a QR code into this SVG file, which must not exist yet
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
}

/// The same, with its files open.
pub(super) struct Open {
    conf: Option<PrivateFile>,
    qr: bool,
    png: Option<PrivateFile>,
    svg: Option<PrivateFile>,
}

impl Destination {
    /// Only QR codes: on the screen, unless files are named.
    pub(super) fn of_code(png: Option<PathBuf>, svg: Option<PathBuf>) -> Self {
        let qr = png.is_none() && svg.is_none();
        Self { output: None, qr, png, svg }
    }

    /// Opens the files.
    pub(super) fn open(self, console: &Console) -> Result<Open, Failure> {
        if self.qr && console.global.json {
            return Err(Failure::Usage(
                "a QR code on the screen is no JSON; use --svg FILE or --png FILE".to_owned(),
            ));
        }
        let file = |path: Option<PathBuf>| path.map(|path| PrivateFile::new(&path)).transpose();
        Ok(Open { conf: file(self.output)?, qr: self.qr, png: file(self.png)?, svg: file(self.svg)? })
    }
}

impl Open {
    fn is_nowhere(&self) -> bool {
        self.conf.is_none() && !self.has_code()
    }

    fn has_code(&self) -> bool {
        self.qr || self.png.is_some() || self.svg.is_some()
    }

    /// Puts the configuration everywhere, and says which files have it now.
    pub(super) fn put(self, config: &str, console: &mut Console) -> Result<Vec<String>, Failure> {
        let mut files = Vec::new();
        let mut save = |file: Option<PrivateFile>, bytes: &[u8]| -> Result<(), Failure> {
            let Some(mut file) = file else {
                return Ok(());
            };
            let name = file.target().display().to_string();
            file.write(bytes)?;
            file.publish()?;
            files.push(name);
            Ok(())
        };
        let has_code = self.has_code();
        save(self.conf, config.as_bytes())?;
        if has_code {
            let code = QrCode::of(config).map_err(|error| Failure::Local(error.into()))?;
            if self.png.is_some() {
                save(self.png, &code.to_png())?;
            }
            save(self.svg, code.to_svg().as_bytes())?;
            if self.qr {
                let text = qr::on_screen(&code, &console.view())?;
                console.terminal.print(&text)?;
            }
        }
        Ok(files)
    }
}

/// A client whose key is new, and what is to be handed over of it.
pub(super) struct HandOver {
    created: CreatedClient,
}

impl HandOver {
    /// The answer of the server, with the private key put in where it was made here.
    pub(super) fn new(mut created: CreatedClient, key: Key) -> Result<Self, Failure> {
        match key {
            Key::Own(_) => {}
            Key::Here(pair) => {
                if created.client.public_key != pair.public() {
                    return Err(Failure::Answer("the client has another key than was sent".to_owned()));
                }
                created.config = created.config.map(|config| pair.put_into(&config));
                created.private_key = Some(pair.text().expose().to_owned());
                // It told that the key is missing, which it is no longer.
                created.note = created.note.filter(|_| created.config.is_none());
            }
            Key::Server => {
                if created.private_key.is_none() {
                    return Err(Failure::Answer("the private key is missing".to_owned()));
                }
            }
        }
        Ok(Self { created })
    }

    /// Hands it over, and shows the client.
    pub(super) fn to(self, open: Open, console: &mut Console) -> Result<(), Failure> {
        let Self { created } = self;
        if !console.global.json {
            let text = show::one(&created.client, &console.view());
            console.terminal.print(&text)?;
        }
        let Some(config) = created.config.clone() else {
            return without_config(created, open, console);
        };
        if open.is_nowhere() {
            return print(&created, &config, console);
        }
        match open.put(&config, console) {
            Ok(files) => saved(created, &files, console),
            Err(failure) => {
                print(&created, &config, console)?;
                Err(failure)
            }
        }
    }
}

/// Everything onto the screen, or into the JSON.
fn print(created: &CreatedClient, config: &str, console: &mut Console) -> Result<(), Failure> {
    if console.global.json {
        return console.show_json(created);
    }
    let head = if created.private_key.is_some() {
        "Its configuration with the private key, shown this once; save it (--output FILE, --qr and --png FILE do):"
    } else {
        "Its configuration; put the private key into it, which only the client has:"
    };
    let lines: Vec<String> = config.lines().map(printable).collect();
    console.terminal.print(&format!("\n{head}\n\n{}\n", lines.join("\n")))
}

fn saved(created: CreatedClient, files: &[String], console: &mut Console) -> Result<(), Failure> {
    if console.global.json {
        return console.show_json(
            &serde_json::json!({ "client": created.client, "files": files, "notes": created.notes }),
        );
    }
    for file in files {
        console.terminal.print(&format!("Saved into {}.", printable(file)))?;
    }
    tell(&created.notes, console);
    if created.private_key.is_some() {
        console.terminal.note("The private key is nowhere else: keep what you have of it safe.");
    }
    Ok(())
}

/// Says what is to be known of a configuration that nobody sees as text.
pub(super) fn tell(notes: &[String], console: &mut Console) {
    notes.iter().for_each(|note| console.terminal.note(&printable(&format!("Note: {note}"))));
}

/// The private key alone, where the server cannot make a configuration yet.
fn without_config(created: CreatedClient, open: Open, console: &mut Console) -> Result<(), Failure> {
    let note = created.note.clone().unwrap_or_default();
    let Some(private) = created.private_key.clone().map(Secret::from) else {
        if console.global.json {
            return console.show_json(&created);
        }
        console.terminal.note(&printable(&format!("There is no configuration yet: {note}")));
        return Ok(());
    };
    let Open { conf, .. } = open;
    let kept = match conf {
        Some(mut file) => {
            let name = file.target().display().to_string();
            file.write(format!("{}\n", private.expose()).as_bytes())?;
            file.publish()?;
            name
        }
        None => {
            if console.global.json {
                console.show_json(&created)?;
            } else {
                console
                    .terminal
                    .print(&format!("\nIts private key, shown this once:\n\n{}", private.expose()))?;
            }
            "FILE".to_owned()
        }
    };
    Err(Failure::Local(anyhow::anyhow!(
        "there is no configuration yet: {note}. The private key is kept as {kept}; later, `netloom client config {} {} \
         --private-key-file {kept}` puts it into the configuration",
        created.client.network_name,
        created.client.name
    )))
}
