//! The message broker: whether an external one answers, takes our password, and lets us hear hosts.

use super::Finding;
use crate::broker::probe;
use crate::broker::settings::BrokerSettings;
use crate::settings::Settings;

pub(super) async fn check(settings: &Settings) -> Finding {
    match &settings.broker {
        BrokerSettings::Embedded => Finding::good("broker", "the one inside the server"),
        BrokerSettings::External(external) => {
            let address = external.address.text.clone();
            let looked = probe(external.clone()).await;
            Finding::of("broker", looked.map(|()| format!("{address} answers, and lets us hear hosts")))
        }
    }
}
